/* What the sample asks of a runtime. litert.c is one; TFLite Micro needs another file with these three. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include "model_data.h"

/* 1 where all went well, else 0. One model at a time; `data` must stay where it is until the end. */
int runtime_open(const unsigned char *data, size_t size);

/* MODEL_PIXELS numbers in, MODEL_CLASSES numbers out. */
int runtime_run(const model_input_t *input, model_output_t *output);

void runtime_close(void);

#endif
