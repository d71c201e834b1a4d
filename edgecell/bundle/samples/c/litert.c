/* The three functions of runtime.h on LiteRT's C API (libLiteRt.so of ai-edge-litert 2.3), CPU.
   The prototypes are those of that release; its headers, where you have them, can replace this block. */
#include "runtime.h"

#include <string.h>

typedef struct litert_object *handle;
typedef int status; /* 0: all went well */

/* Element type, rank, dimensions, strides; LiteRT fills it in and reads it, this file only carries it.
   72 bytes in that release. */
typedef struct {
    long long room[32];
} tensor_type;

status LiteRtCreateEnvironment(int count, const void *options, handle *environment);
status LiteRtCreateModelFromBuffer(handle environment, const void *data, size_t size, handle *model);
status LiteRtCreateOptions(handle *options);
status LiteRtSetOptionsHardwareAccelerators(handle options, int accelerators);
status LiteRtCreateCompiledModel(handle environment, handle model, handle options, handle *compiled);
status LiteRtGetModelSignature(handle model, size_t index, handle *signature);
status LiteRtGetSignatureInputTensorByIndex(handle signature, size_t index, handle *tensor);
status LiteRtGetSignatureOutputTensorByIndex(handle signature, size_t index, handle *tensor);
status LiteRtGetRankedTensorType(handle tensor, tensor_type *type);
status LiteRtGetCompiledModelInputBufferRequirements(handle compiled, size_t signature, size_t index,
                                                     handle *requirements);
status LiteRtGetCompiledModelOutputBufferRequirements(handle compiled, size_t signature, size_t index,
                                                      handle *requirements);
status LiteRtCreateManagedTensorBufferFromRequirements(handle environment, const tensor_type *type,
                                                       handle requirements, handle *buffer);
status LiteRtGetTensorBufferPackedSize(handle buffer, size_t *size);
status LiteRtLockTensorBuffer(handle buffer, void **memory, int mode);
status LiteRtUnlockTensorBuffer(handle buffer);
status LiteRtRunCompiledModel(handle compiled, size_t signature, size_t inputs, handle *input,
                              size_t outputs, handle *output);
void LiteRtDestroyTensorBuffer(handle buffer);
void LiteRtDestroyCompiledModel(handle compiled);
void LiteRtDestroyOptions(handle options);
void LiteRtDestroyModel(handle model);
void LiteRtDestroyEnvironment(handle environment);

enum { CPU = 1, LOCK_READ = 0, LOCK_WRITE = 1 };

static handle environment, model, options, compiled, input_buffer, output_buffer;

static int open_ports(void)
{
    const size_t in_size = MODEL_PIXELS * sizeof(model_input_t);
    const size_t out_size = MODEL_CLASSES * sizeof(model_output_t);
    handle signature, tensor, wanted;
    tensor_type type;
    size_t size;

    return !LiteRtGetModelSignature(model, 0, &signature)
        && !LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor)
        && !LiteRtGetRankedTensorType(tensor, &type)
        && !LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &wanted)
        && !LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, wanted, &input_buffer)
        && !LiteRtGetTensorBufferPackedSize(input_buffer, &size) && size == in_size
        && !LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor)
        && !LiteRtGetRankedTensorType(tensor, &type)
        && !LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, 0, &wanted)
        && !LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, wanted, &output_buffer)
        && !LiteRtGetTensorBufferPackedSize(output_buffer, &size) && size == out_size;
}

int runtime_open(const unsigned char *data, size_t size)
{
    return !LiteRtCreateEnvironment(0, NULL, &environment)
        && !LiteRtCreateModelFromBuffer(environment, data, size, &model)
        && !LiteRtCreateOptions(&options)
        && !LiteRtSetOptionsHardwareAccelerators(options, CPU)
        && !LiteRtCreateCompiledModel(environment, model, options, &compiled)
        && open_ports();
}

int runtime_run(const model_input_t *input, model_output_t *output)
{
    void *memory;

    if (LiteRtLockTensorBuffer(input_buffer, &memory, LOCK_WRITE))
        return 0;
    memcpy(memory, input, MODEL_PIXELS * sizeof *input);
    if (LiteRtUnlockTensorBuffer(input_buffer)
        || LiteRtRunCompiledModel(compiled, 0, 1, &input_buffer, 1, &output_buffer)
        || LiteRtLockTensorBuffer(output_buffer, &memory, LOCK_READ))
        return 0;
    memcpy(output, memory, MODEL_CLASSES * sizeof *output);
    return !LiteRtUnlockTensorBuffer(output_buffer);
}

void runtime_close(void)
{
    if (output_buffer)
        LiteRtDestroyTensorBuffer(output_buffer);
    if (input_buffer)
        LiteRtDestroyTensorBuffer(input_buffer);
    if (compiled)
        LiteRtDestroyCompiledModel(compiled);
    if (options)
        LiteRtDestroyOptions(options);
    if (model)
        LiteRtDestroyModel(model);
    if (environment)
        LiteRtDestroyEnvironment(environment);
    environment = model = options = compiled = input_buffer = output_buffer = NULL;
}
