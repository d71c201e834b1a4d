/* Without arguments the self-test on the golden images; with a file of raw RGB pixels, what it shows.

       ./classify [BUNDLE]
       ./classify FILE.rgb HEIGHT WIDTH

   Not a medical device; not for clinical use. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "golden_cases.h"
#include "model_data.h"
#include "preprocess.h"
#ifndef WITHOUT_RUNTIME
#include "runtime.h"
#endif

/* A fault of one stage: how many images have it, and what the first one said. */
typedef struct {
    const char *stage;
    int count;
    char first[256];
} fault;

static void blame(fault *found, const char *format, ...)
{
    va_list rest;

    va_start(rest, format);
    if (found->count++ == 0)
        vsnprintf(found->first, sizeof found->first, format, rest);
    va_end(rest);
}

static void give_up(const char *what, const char *name)
{
    fprintf(stderr, "%s %s\n", what, name);
    exit(2);
}

/* The whole file, which must hold exactly `size` bytes; to be freed. */
static void *read_all(const char *folder, const char *name, size_t size)
{
    char path[1024];
    void *data = malloc(size + 1);
    FILE *file;

    if (snprintf(path, sizeof path, "%s%s", folder, name) >= (int)sizeof path)
        give_up("too long a path:", name);
    file = fopen(path, "rb");
    if (!file || !data)
        give_up("cannot read", path);
    if (fread(data, 1, size + 1, file) != size)
        give_up("not of the size that is expected:", path);
    fclose(file);
    return data;
}

static int differing(const void *found, const void *expected, size_t size)
{
    const unsigned char *a = found, *b = expected;
    int count = 0;

    while (size--)
        count += *a++ != *b++;
    return count;
}

/* The checksum of zlib. */
static uint32_t crc32(const unsigned char *data, size_t size)
{
    uint32_t sum = 0xffffffffu;
    int bit;

    while (size--) {
        sum ^= *data++;
        for (bit = 0; bit < 8; bit++)
            sum = sum & 1 ? sum >> 1 ^ 0xedb88320u : sum >> 1;
    }
    return ~sum;
}

#ifndef WITHOUT_RUNTIME
/* The labels to show: none where the model is not sure, several where several can hold. */
static int answers(const model_output_t *output, int *shown)
{
    static const double least[MODEL_CLASSES] = MODEL_LABEL_LEAST;
    int i, count = 0, best = 0;

    for (i = 0; i < MODEL_CLASSES; i++) {
        if (MODEL_MULTI_LABEL && MODEL_PROBABILITY(output[i]) >= least[i])
            shown[count++] = i;
        best = output[i] > output[best] ? i : best;
    }
    if (!MODEL_MULTI_LABEL && MODEL_PROBABILITY(output[best]) >= MODEL_ABSTAIN_BELOW - 1e-7)
        shown[count++] = best;
    return count;
}

static void classify(const char *path, int height, int width)
{
    static uint8_t pixels[MODEL_PIXELS];
    static model_input_t input[MODEL_PIXELS];
    static model_output_t output[MODEL_CLASSES];
    int shown[MODEL_CLASSES], i, count;
    uint8_t *rgb = read_all("", path, (size_t)height * (size_t)width * 3);

    if (!preprocess_resize(rgb, height, width, pixels))
        give_up("no memory for", path);
    free(rgb);
    preprocess_scale(pixels, input);
    if (!runtime_open(model_data, MODEL_SIZE) || !runtime_run(input, output))
        give_up("the model does not run here:", MODEL_NAME);
    count = answers(output, shown);
    for (i = 0; i < count; i++)
        printf("%s%s", i ? " and " : "", model_labels[shown[i]]);
    printf("%s (", count ? "" : "not sure");
    for (i = 0; i < MODEL_CLASSES; i++)
        printf("%s%s %.3f", i ? ", " : "", model_labels[i], MODEL_PROBABILITY(output[i]));
    printf(")\n");
    runtime_close();
}

static void test_inference(const golden_case *golden, const void *input, const char *folder,
                           fault *found)
{
    static model_output_t output[MODEL_CLASSES];
    model_output_t *expected = read_all(folder, golden->output, sizeof output);
    int i, best = 0;
    double off, most = 0.0;

    if (!runtime_run(input, output)) {
        blame(found, "%s: the model does not run", golden->name);
        free(expected);
        return;
    }
    for (i = 0; i < MODEL_CLASSES; i++) {
        off = fabs((double)output[i] - (double)expected[i]);
        most = off <= most ? most : off; /* not a number counts as off */
        best = output[i] > output[best] ? i : best;
    }
    if (!(most <= GOLDEN_TOLERANCE))
        blame(found, "%s is off by up to %g; allowed %g", golden->name, most, GOLDEN_TOLERANCE);
    else if (golden->top1 >= 0 && best != golden->top1)
        blame(found, "%s is not %s", golden->name, model_labels[golden->top1]);
    free(expected);
}
#endif

static int self_test(const char *bundle)
{
    static uint8_t resized[MODEL_PIXELS];
    static model_input_t scaled[MODEL_PIXELS];
    fault faults[3] = {{"resize", 0, ""}, {"scale", 0, ""}, {"inference", 0, ""}};
    char folder[900];
    int i, failed = 0;

    if (snprintf(folder, sizeof folder, "%s/", bundle) >= (int)sizeof folder)
        give_up("too long a path:", bundle);
#ifndef WITHOUT_RUNTIME
    if (!runtime_open(model_data, MODEL_SIZE))
        give_up("the model does not open here:", MODEL_NAME);
#endif
    for (i = 0; i < GOLDEN_COUNT; i++) {
        const golden_case *golden = &golden_cases[i];
        uint8_t *pixels = read_all(folder, golden->resized, MODEL_PIXELS);
        model_input_t *input = read_all(folder, golden->input, sizeof scaled);

        if (golden->decoded) {
            uint8_t *decoded = read_all(folder, golden->decoded,
                                        (size_t)golden->height * (size_t)golden->width * 3);
            if (!preprocess_resize(decoded, golden->height, golden->width, resized))
                give_up("no memory for", golden->name);
            if (differing(resized, pixels, sizeof resized))
                blame(&faults[0], "%s differs in %d of %d bytes", golden->name,
                      differing(resized, pixels, sizeof resized), MODEL_PIXELS);
            free(decoded);
        }
        preprocess_scale(pixels, scaled);
        if (differing(scaled, input, sizeof scaled))
            blame(&faults[1], "%s differs in %d of %d bytes", golden->name,
                  differing(scaled, input, sizeof scaled), (int)sizeof scaled);
#ifndef WITHOUT_RUNTIME
        test_inference(golden, input, folder, &faults[2]);
#endif
        free(pixels);
        free(input);
    }
    for (i = 0; i < 3; i++)
        if (faults[i].count) {
            failed = 1;
            printf("FAIL %s: %d images; first: %s\n", faults[i].stage, faults[i].count,
                   faults[i].first);
        }
    if (crc32(model_data, MODEL_SIZE) != MODEL_CRC32) {
        failed = 1;
        printf("FAIL inference: the bytes of the model were altered\n");
    }
#ifdef WITHOUT_RUNTIME
    if (!failed)
        printf("PASS resize, scale: %d images; inference was not tried\n", GOLDEN_COUNT);
#else
    if (!failed)
        printf("PASS resize, scale, inference: %d images\n", GOLDEN_COUNT);
    runtime_close();
#endif
    return failed;
}

int main(int count, char **words)
{
    if (MODEL_WARNING[0])
        fprintf(stderr, "WARNING: %s\n", MODEL_WARNING);
#ifndef WITHOUT_RUNTIME
    if (count == 4) {
        const int height = atoi(words[2]), width = atoi(words[3]);
        if (height < 1 || width < 1)
            give_up("height and width are whole numbers of pixels, not", words[2]);
        classify(words[1], height, width);
        return 0;
    }
#endif
    if (count > 2)
        give_up("one folder, or FILE.rgb HEIGHT WIDTH, not", words[1]);
    return self_test(count == 2 ? words[1] : "../..");
}
