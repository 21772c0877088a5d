/*
 * Dropsonde: write a collector plugin in C, or in any language that can export a C symbol.
 *
 *     cc -shared -fPIC -I plugin-api/include -o libsoftirqs.so softirqs.c
 *
 * A plugin is a shared object that exports a manifest, which the host reads without running a
 * line of the plugin, and a table of functions. DROPSONDE_MANIFEST() makes the one,
 * DROPSONDE_TABLE begins the other. It is checked, tried out in a child process, supervised,
 * sandboxed and reloaded as a plugin in Rust is.
 *
 * What holds for all of it:
 *
 * - The functions of one instance are called on one thread, one at a time. Another instance may
 *   live at the same time, on another thread: keep state in the instance, not in globals.
 * - A text ends with NUL, unless its length stands beside it; NULL is an empty one. It should be
 *   UTF-8: what is not becomes U+FFFD.
 * - What the host lends (settings, sink, error) is valid until the call returns; the host itself
 *   until destroy() has. What the plugin hands over is copied before the function returns; the
 *   table and what it points to is the plugin's, and constant.
 * - Functions return DROPSONDE_OK, DROPSONDE_FAILED or DROPSONDE_SETTINGS. After DROPSONDE_FAILED
 *   of collect() the next round comes, a little later each time; the user sees the message.
 *   DROPSONDE_SETTINGS stops the collector until its settings are others.
 * - A call that has not returned by its deadline ends the instance; a crash ends the process that
 *   the plugin runs in, and it starts anew after a pause. No C++ exception may leave a function.
 *
 * The layout below is version DROPSONDE_ABI of this interface, for 64-bit machines. It does not
 * change: a host that knows a later one takes this one too. The host compares the version and
 * the size of every struct before it calls anything.
 */
#ifndef DROPSONDE_H
#define DROPSONDE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define DROPSONDE_ABI 1
/* The plugin API that this header belongs to. */
#define DROPSONDE_API_MAJOR 1
#define DROPSONDE_API_MINOR 0

#ifdef __cplusplus
extern "C" {
#endif

/* What a function returns. */
enum {
    DROPSONDE_OK = 0,
    /* The error says why. */
    DROPSONDE_FAILED = 1,
    /* The settings don't fit; the error names the key in `path`. */
    DROPSONDE_SETTINGS = 2
};

/* What a plugin exports. */
enum {
    /* It is asked for a round on schedule: collect(). */
    DROPSONDE_POLLED = 0,
    /* It runs until it is told to stop, and pushes what happens: run(). */
    DROPSONDE_EVENTS = 1
};

/* What a plugin does beyond reading files. In a runner process it may do no more than its
 * manifest asks for, and of that only what the user's `allow` has. */
enum {
    DROPSONDE_PERF = 1,    /* perf_event_open(2) */
    DROPSONDE_NETWORK = 2, /* internet sockets */
    DROPSONDE_NETLINK = 4, /* netlink(7) */
    DROPSONDE_BPF = 8,     /* bpf(2) */
    DROPSONDE_EXEC = 16,   /* starting programs */
    DROPSONDE_INSPECT = 32 /* /proc/PID/{io,fd,environ,maps} of others; then it can write nothing */
};

/* What a stream is. */
enum {
    /* Each round replaces the one before: metrics. */
    DROPSONDE_SNAPSHOT = 0,
    /* Each row is one more event. */
    DROPSONDE_EVENT = 1
};

/* What a column is to the host. */
enum {
    /* Tells rows apart: interface, device, mount point. */
    DROPSONDE_KEY = 0,
    /* Only grows, but for a reset: the host derives a rate. */
    DROPSONDE_COUNTER = 1,
    /* A number that goes up and down. */
    DROPSONDE_GAUGE = 2,
    /* What describes the row. */
    DROPSONDE_ATTRIBUTE = 3
};

/* The type of a column's values, and of a value. */
enum {
    DROPSONDE_U64 = 0,
    DROPSONDE_I64 = 1,
    DROPSONDE_F64 = 2,
    DROPSONDE_BOOL = 3,
    DROPSONDE_TEXT = 4,
    /* Texts, each with a NUL at its end. */
    DROPSONDE_LIST = 5,
    /* No value in this row; of no column. */
    DROPSONDE_MISSING = 255
};

/* How grave a line of the log is. */
enum {
    DROPSONDE_ERROR = 1,
    DROPSONDE_WARN = 2,
    DROPSONDE_INFO = 3,
    DROPSONDE_DEBUG = 4,
    DROPSONDE_TRACE = 5
};

/* Read from the file by the host; see DROPSONDE_MANIFEST(). */
struct dropsonde_manifest {
    char magic[8];
    uint32_t format;
    uint32_t size;
    uint16_t api_major;
    uint16_t api_minor;
    uint8_t kind;
    uint8_t panic_abort;
    uint8_t language; /* 1: this interface */
    uint8_t reserved;
    uint32_t capabilities;
    uint8_t reserved_too[4];
    char name[64];
    char version[32];
    char description[256];
};

/* A column of a stream. What is left out is empty. */
struct dropsonde_column {
    const char *name;        /* snake_case */
    const char *unit;        /* UCUM: "By", "s", "1", "{page}" */
    const char *description; /* a sentence */
    const char *otel;        /* OpenTelemetry's name for it, if it has one */
    /* Fixed attributes of that name: name, value, name, value, ..., NULL; 32 pairs at most. */
    const char *const *attributes;
    /* A share that the host derives: its name, the column that is the whole, OpenTelemetry's
     * name for it, NULL. NULL for none. */
    const char *const *share;
    uint8_t role; /* DROPSONDE_KEY, ... */
    uint8_t type; /* DROPSONDE_U64, ... */
    uint8_t reserved[6];
};

/* A stream. Its topic is metrics.COLLECTOR.NAME or events.COLLECTOR.NAME; an empty name leaves
 * the last token out. */
struct dropsonde_stream {
    const char *name;
    const char *description;
    const struct dropsonde_column *columns;
    uint64_t column_count; /* 256 at most */
    uint32_t kind; /* DROPSONDE_SNAPSHOT or DROPSONDE_EVENT */
    uint32_t reserved;
};

/* One value of a row. */
struct dropsonde_value {
    uint32_t type; /* that of its column, or DROPSONDE_MISSING */
    uint32_t reserved;
    union {
        uint64_t u64; /* and 0 or 1 for DROPSONDE_BOOL */
        int64_t i64;
        double f64; /* one that is not finite counts as missing */
        const char *text;
    } of;
    uint64_t length; /* bytes of a text or list */
};

/* Where a function says why it failed. */
struct dropsonde_error {
    char message[512];
    char path[128]; /* the settings key at fault */
};

/* The user's settings. A key that nobody asked for by the end of the call is refused as unknown,
 * and so is a value of another type: the user is told the line. A path is "key" or "table.key";
 * what is returned if the key is not there is `otherwise`. */
struct dropsonde_settings {
    const void *context;
    /* Valid until the call returns. */
    const char *(*text)(const struct dropsonde_settings *, const char *path, const char *otherwise);
    int64_t (*integer)(const struct dropsonde_settings *, const char *path, int64_t otherwise);
    double (*number)(const struct dropsonde_settings *, const char *path, double otherwise);
    /* 0 or 1. */
    int32_t (*flag)(const struct dropsonde_settings *, const char *path, int32_t otherwise);
    /* All of them as a JSON object; then the plugin checks its keys and types itself. */
    const char *(*json)(const struct dropsonde_settings *);
};

/* The host, as an instance sees it. */
struct dropsonde_host {
    const void *context;
    /* The collector's name. */
    const char *collector;
    /* The one directory that it may write to; it may not exist yet. */
    const char *state_dir;
    /* A line of the log. Any thread may call it; it waits while the host does not keep up. */
    void (*log)(const struct dropsonde_host *, int32_t level, const char *message);
};

/* Takes rows. Only within the call that lent it, on any thread. */
struct dropsonde_sink {
    const void *context;
    /* One row, a value for each column: use dropsonde_push(). What is not DROPSONDE_OK was
     * refused, the round fails and the user is told why: there is no need to look at it. A batch
     * has up to 100,000 rows and 48 MiB. */
    int32_t (*push)(const struct dropsonde_sink *, uint32_t stream, const struct dropsonde_value *values,
                    uint64_t count);
    /* Publishes a stream though it has no rows: there are none of what it lists. */
    int32_t (*empty)(const struct dropsonde_sink *, uint32_t stream);
    /* collect() only: what could not be read while the rest could. */
    void (*partial)(const struct dropsonde_sink *, const char *what);
    /* run() only: hands over what was pushed. So do wait(), 256 rows or 1 MiB of them, and the
     * end of run(), whatever it returns. It waits while the host does not keep up. */
    int32_t (*flush)(const struct dropsonde_sink *);
    /* run() only: sleeps for so many nanoseconds, or until the instance shall stop. Returns 1 if
     * it shall: then return DROPSONDE_OK. */
    int32_t (*wait)(const struct dropsonde_sink *, uint64_t nanoseconds);
};

/* What a plugin does. Begin it with DROPSONDE_TABLE. */
struct dropsonde_plugin {
    uint32_t abi;
    uint32_t sizes[9];
    /* How often it is collected unless the user says otherwise; 0: each second. */
    uint64_t interval_ms;
    const struct dropsonde_stream *streams;
    uint64_t stream_count; /* 64 at most */
    /* Checks settings without making an instance; has no side effect. NULL: there are none. */
    int32_t (*check_settings)(const struct dropsonde_settings *, struct dropsonde_error *);
    /* Makes an instance, which is whatever the plugin puts into the last argument, NULL too. It
     * asks for the same settings as check_settings(). If it fails, there is no instance, and
     * destroy() is not called. */
    int32_t (*create)(const struct dropsonde_settings *, const struct dropsonde_host *,
                      struct dropsonde_error *, void **instance);
    /* One round: pushes the rows of the streams whose bits are set in `wanted`; rows of others
     * are ignored. */
    int32_t (*collect)(void *instance, uint64_t wanted, const struct dropsonde_sink *,
                       struct dropsonde_error *);
    /* Instead of collect(), if the manifest says DROPSONDE_EVENTS. */
    int32_t (*run)(void *instance, const struct dropsonde_sink *, struct dropsonde_error *);
    /* Ends an instance. NULL: there is nothing to do. */
    void (*destroy)(void *instance);
};

#if defined(__GNUC__)
#define DROPSONDE_EXPORT __attribute__((visibility("default")))
#define DROPSONDE_IN_ITS_SECTION __attribute__((visibility("default"), section(".dropsonde")))
#define DROPSONDE_LIKE_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#error "a compiler that knows __attribute__ is needed: gcc or clang"
#endif

extern DROPSONDE_IN_ITS_SECTION const struct dropsonde_manifest dropsonde_plugin_manifest;
/* What the host looks for: define it once. */
extern DROPSONDE_EXPORT const struct dropsonde_plugin dropsonde_c_plugin;

/* Once in a plugin, at file scope: DROPSONDE_MANIFEST("softirqs", "1.0.0", "What it collects.",
 * DROPSONDE_POLLED, 0); The name has a-z, 0-9, _ and -, starts with a letter, and is not
 * "timestamp". */
#define DROPSONDE_MANIFEST(name, version, description, kind, capabilities)                         \
    const struct dropsonde_manifest dropsonde_plugin_manifest = {                                  \
        {'D', 'R', 'O', 'P', 'S', 'N', 'D', 0}, 1, sizeof(struct dropsonde_manifest),              \
        DROPSONDE_API_MAJOR, DROPSONDE_API_MINOR, kind, 0, 1, 0, capabilities, {0}, name, version, \
        description}

/* The first two fields of the table: const struct dropsonde_plugin dropsonde_c_plugin = {
 * DROPSONDE_TABLE, .streams = ...}; In C++ that needs C++20. */
#define DROPSONDE_TABLE                                                                            \
    .abi = DROPSONDE_ABI,                                                                          \
    .sizes = {sizeof(struct dropsonde_plugin),   sizeof(struct dropsonde_stream),                  \
              sizeof(struct dropsonde_column),   sizeof(struct dropsonde_value),                   \
              sizeof(struct dropsonde_error),    sizeof(struct dropsonde_settings),                \
              sizeof(struct dropsonde_host),     sizeof(struct dropsonde_sink),                    \
              sizeof(void *)}

#ifdef __cplusplus
} /* extern "C" */
#endif

static inline struct dropsonde_value dropsonde_u64(uint64_t number) {
    struct dropsonde_value value = {DROPSONDE_U64, 0, {0}, 0};
    value.of.u64 = number;
    return value;
}

static inline struct dropsonde_value dropsonde_i64(int64_t number) {
    struct dropsonde_value value = {DROPSONDE_I64, 0, {0}, 0};
    value.of.i64 = number;
    return value;
}

static inline struct dropsonde_value dropsonde_f64(double number) {
    struct dropsonde_value value = {DROPSONDE_F64, 0, {0}, 0};
    value.of.f64 = number;
    return value;
}

static inline struct dropsonde_value dropsonde_bool(int flag) {
    struct dropsonde_value value = {DROPSONDE_BOOL, 0, {0}, 0};
    value.of.u64 = flag != 0;
    return value;
}

/* So many bytes, which need no NUL. */
static inline struct dropsonde_value dropsonde_bytes(const char *text, size_t length) {
    struct dropsonde_value value = {DROPSONDE_TEXT, 0, {0}, 0};
    value.of.text = text;
    value.length = length;
    return value;
}

/* A text that ends with NUL; NULL is a missing one. */
static inline struct dropsonde_value dropsonde_text(const char *text) {
    struct dropsonde_value value = dropsonde_bytes(text, 0);
    if (text == NULL)
        value.type = DROPSONDE_MISSING;
    else
        while (text[value.length] != 0)
            value.length++;
    return value;
}

static inline struct dropsonde_value dropsonde_missing(void) {
    struct dropsonde_value value = {DROPSONDE_MISSING, 0, {0}, 0};
    return value;
}

/* Says why a function failed: return dropsonde_failed(error, "%s: %s", path, strerror(errno)); */
DROPSONDE_LIKE_PRINTF(2, 3)
static inline int32_t dropsonde_failed(struct dropsonde_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return DROPSONDE_FAILED;
}

/* Says which setting does not fit, and why. */
DROPSONDE_LIKE_PRINTF(3, 4)
static inline int32_t dropsonde_wrong_setting(struct dropsonde_error *error, const char *path,
                                              const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    snprintf(error->path, sizeof error->path, "%s", path);
    return DROPSONDE_SETTINGS;
}

/* dropsonde_push(sink, 0, dropsonde_text(name), dropsonde_u64(count)): a row of stream 0. */
#ifdef __cplusplus
template <class... Values>
int32_t dropsonde_push(const struct dropsonde_sink *sink, uint32_t stream, Values... values) {
    const struct dropsonde_value row[] = {values...};
    return sink->push(sink, stream, row, sizeof...(values));
}
#else
#define dropsonde_push(sink, stream, ...)                                                          \
    (sink)->push((sink), (stream), (const struct dropsonde_value[]){__VA_ARGS__},                  \
                 sizeof((const struct dropsonde_value[]){__VA_ARGS__}) /                           \
                     sizeof(struct dropsonde_value))
#endif

#endif /* DROPSONDE_H */
