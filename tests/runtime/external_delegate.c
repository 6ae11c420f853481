/* A delegate library that takes no operator: the least that LiteRT's external delegate interface asks
   for (external_delegate_interface.h), with the layout of TfliteDelegate in c/common.h. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct Delegate {
  void* data;
  int (*Prepare)(void* context, struct Delegate* delegate);
  int (*CopyFromBufferHandle)(void*, struct Delegate*, int, void*);
  int (*CopyToBufferHandle)(void*, struct Delegate*, int, void*);
  void (*FreeBufferHandle)(void*, struct Delegate*, int*);
  int64_t flags;
  void* opaque_delegate_builder;
} Delegate;

static int Prepare(void* context, Delegate* delegate) {
  (void)context;
  (void)delegate;
  return 0;
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                        void (*report_error)(const char*)) {
  (void)keys;
  (void)values;
  (void)count;
  (void)report_error;
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->Prepare = Prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
