#include "preprocess.h"

#include <math.h>
#include <stdlib.h>

#define WEIGHT_BITS 22

/* Some processors multiply and add in one step, which rounds once instead of twice: volatile stops that. */
typedef volatile double twice_rounded;

/* Pixels of an image as one pass sees them: `lines` of them, each of `count` pixels; steps in bytes. */
typedef struct {
    uint8_t *pixels;
    int lines, count;
    size_t line_step, step;
} strip;

/* Weights of the pixels that make up number i of `size`; the first pixel's number, how many in *count. */
static int weigh(int i, int n, int size, double *share, int32_t *weight, int *count)
{
    const double ratio = (double)n / size;
    const double stretch = ratio > 1.0 ? ratio : 1.0; /* antialias: wider where it shrinks */
    const double inverse = 1.0 / stretch;
    twice_rounded centre = (i + 0.5) * ratio;
    const int begin = (int)(centre - stretch + 0.5);
    const int end = (int)(centre + stretch + 0.5);
    const int first = begin > 0 ? begin : 0;
    double total = 0.0;
    int j;

    *count = (end < n ? end : n) - first;
    for (j = 0; j < *count; j++) {
        twice_rounded distance = fabs(first + j - centre + 0.5) * inverse;
        share[j] = distance < 1.0 ? 1.0 - distance : 0.0;
        total += share[j];
    }
    for (j = 0; j < *count; j++)
        weight[j] = (int32_t)(0.5 + share[j] / total * (1 << WEIGHT_BITS));
    return first;
}

static void resize_pass(const strip *in, const strip *out, double *share, int32_t *weight)
{
    int i, j, line, channel, count;

    for (i = 0; i < out->count; i++) {
        const int first = weigh(i, in->count, out->count, share, weight, &count);
        for (line = 0; line < in->lines; line++)
            for (channel = 0; channel < 3; channel++) {
                const uint8_t *from = in->pixels + (size_t)line * in->line_step
                                    + (size_t)first * in->step + channel;
                int32_t sum = 1 << (WEIGHT_BITS - 1);
                for (j = 0; j < count; j++)
                    sum += from[(size_t)j * in->step] * weight[j];
                sum >>= WEIGHT_BITS; /* never negative: no weight is */
                out->pixels[(size_t)line * out->line_step + (size_t)i * out->step + (size_t)channel]
                    = (uint8_t)(sum > 255 ? 255 : sum);
            }
    }
}

static int fitted(double side, int most)
{
    const int rounded = (int)rint(side); /* halves to even */
    return rounded < 1 ? 1 : rounded > most ? most : rounded;
}

int preprocess_resize(const uint8_t *rgb, int height, int width, uint8_t *out)
{
    const size_t row = (size_t)width * 3, out_row = (size_t)MODEL_WIDTH * 3;
    double high = height, wide = width;
    int h, w, done = 0;
    uint8_t *between;
    double *share;
    int32_t *weight;

    if (MODEL_FIT_CROP) { /* the largest centred rectangle of the model's shape */
        const double by_height = (double)height / MODEL_HEIGHT;
        const double by_width = (double)width / MODEL_WIDTH;
        const double side = by_height < by_width ? by_height : by_width;
        high = side * MODEL_HEIGHT;
        wide = side * MODEL_WIDTH;
    }
    h = fitted(high * MODEL_CENTRAL_FRACTION, height);
    w = fitted(wide * MODEL_CENTRAL_FRACTION, width);
    rgb += (size_t)((height - h) / 2) * row + (size_t)((width - w) / 2) * 3;
    between = malloc((size_t)h * out_row);
    share = malloc(((size_t)h + (size_t)w + 4) * sizeof *share);
    weight = malloc(((size_t)h + (size_t)w + 4) * sizeof *weight);
    if (between && share && weight) {
        const strip rows = {(uint8_t *)(uintptr_t)rgb, h, w, row, 3};
        const strip narrow_rows = {between, h, MODEL_WIDTH, out_row, 3};
        const strip columns = {between, MODEL_WIDTH, h, 3, out_row};
        const strip short_columns = {out, MODEL_WIDTH, MODEL_HEIGHT, 3, out_row};
        resize_pass(&rows, &narrow_rows, share, weight);
        resize_pass(&columns, &short_columns, share, weight);
        done = 1;
    }
    free(between);
    free(share);
    free(weight);
    return done;
}

void preprocess_scale(const uint8_t *pixels, model_input_t *out)
{
    size_t i;

    for (i = 0; i < MODEL_PIXELS; i++) {
        twice_rounded product = pixels[i] * MODEL_INPUT_MULTIPLY;
        const double value = product + MODEL_INPUT_ADD;
        out[i] = (model_input_t)(MODEL_INPUT_IS_INTEGER ? rint(value) : value);
    }
}
