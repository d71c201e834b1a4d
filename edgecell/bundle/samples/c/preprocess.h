/* From pixels to the input tensor, as docs/bundle-format.md states it; plain C99, no library. */
#ifndef PREPROCESS_H
#define PREPROCESS_H

#include "model_data.h"

/* RGB pixels (height x width x 3, red first, rows packed) -> MODEL_PIXELS bytes, the model's size.
   0 where memory is short, else 1. */
int preprocess_resize(const uint8_t *rgb, int height, int width, uint8_t *out);

/* The resized pixels -> MODEL_PIXELS numbers of the input tensor. */
void preprocess_scale(const uint8_t *pixels, model_input_t *out);

#endif
