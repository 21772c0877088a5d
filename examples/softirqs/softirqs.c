/* How often each kind of softirq ran, on all CPUs together (proc(5), "/proc/softirqs"):
 *   cc -shared -fPIC -I plugin-api/include -o libsoftirqs.so examples/softirqs/softirqs.c */
#include "dropsonde.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct softirqs {
    char path[256];
};

static int32_t read_settings(const struct dropsonde_settings *settings, struct softirqs *self,
                             struct dropsonde_error *error) {
    const char *root = settings->text(settings, "root", "/proc");
    if (strlen(root) > 200)
        return dropsonde_wrong_setting(error, "root", "longer than 200 bytes");
    snprintf(self->path, sizeof self->path, "%s/softirqs", root);
    return DROPSONDE_OK;
}

static int32_t check_settings(const struct dropsonde_settings *settings,
                              struct dropsonde_error *error) {
    struct softirqs scratch;
    return read_settings(settings, &scratch, error);
}

static int32_t create(const struct dropsonde_settings *settings, const struct dropsonde_host *host,
                      struct dropsonde_error *error, void **instance) {
    struct softirqs *self = (struct softirqs *)malloc(sizeof *self);
    int32_t outcome = self == NULL ? dropsonde_failed(error, "out of memory")
                                   : read_settings(settings, self, error);
    (void)host;
    *instance = self;
    if (outcome != DROPSONDE_OK)
        free(self); /* there is no instance: destroy() is not called */
    return outcome;
}

static int32_t collect(void *instance, uint64_t wanted, const struct dropsonde_sink *sink,
                       struct dropsonde_error *error) {
    struct softirqs *self = (struct softirqs *)instance;
    char *line = NULL, *at, *end;
    size_t room = 0;
    FILE *file = fopen(self->path, "re");
    (void)wanted; /* there is one stream */
    if (file == NULL)
        return dropsonde_failed(error, "%s: %s", self->path, strerror(errno));
    while (getline(&line, &room, file) > 0) {
        uint64_t sum = 0;
        char *name = line + strspn(line, " "), *colon = strchr(name, ':');
        if (colon == NULL)
            continue; /* the heading */
        for (at = colon + 1; (void)(sum += strtoull(at, &end, 10)), end != at; at = end)
            ;
        dropsonde_push(sink, 0, dropsonde_bytes(name, (size_t)(colon - name)), dropsonde_u64(sum));
    }
    free(line);
    fclose(file);
    return DROPSONDE_OK;
}

static const struct dropsonde_column columns[] = {
    {.name = "softirq", .role = DROPSONDE_KEY, .type = DROPSONDE_TEXT, .description = "Kind."},
    {.name = "runs", .role = DROPSONDE_COUNTER, .type = DROPSONDE_U64, .unit = "{run}",
     .description = "Times that it ran since boot."},
};
static const struct dropsonde_stream streams[] = {
    {.columns = columns, .column_count = 2, .description = "Softirqs by kind."},
};
DROPSONDE_MANIFEST("softirqs", "1.0.0", "Softirqs by kind.", DROPSONDE_POLLED, 0);
const struct dropsonde_plugin dropsonde_c_plugin = {
    DROPSONDE_TABLE, .streams = streams, .stream_count = 1, .check_settings = check_settings,
    .create = create, .collect = collect, .destroy = free,
};
