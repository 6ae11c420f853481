/* A QEMU plugin that counts the instructions of a program and writes the sum into a file.
 *
 * The few functions of QEMU's plugin interface (version 1) that it needs are declared here:
 * Debian packages no header of them. https://www.qemu.org/docs/master/devel/tcg-plugins.html
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

enum { INLINE_ADD = 0 };

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions;
static char path[4096];

/* Called once for each block of code when it is translated: have it add its length when it runs. */
static void on_block(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD, &instructions,
                                             qemu_plugin_tb_n_insns(block));
}

static void on_exit(plugin_id id, void *unused)
{
    (void)id;
    (void)unused;
    FILE *file = fopen(path, "w");
    if (file) {
        fprintf(file, "%" PRIu64 "\n", instructions);
        fclose(file);
    }
}

__attribute__((visibility("default"))) int
qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "count=", 6) != 0)
        return -1;
    snprintf(path, sizeof path, "%s", argv[0] + 6);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
