/* An event for each time that a file changed, looked at twice a second (stat(2)):
 *   c++ -std=c++20 -shared -fPIC -I plugin-api/include -o libwatch_file.so
 *       -Wl,--version-script=plugin-api/include/dropsonde.map examples/watch_file/watch_file.cpp */
#include "dropsonde.h"

#include <exception>
#include <string>
#include <sys/stat.h>

namespace {

struct Watch {
    const dropsonde_host *host;
    std::string path;
};

std::string path_of(const dropsonde_settings *settings) {
    return settings->text(settings, "path", "/etc/hosts");
}

// No exception may leave a function of the table, hence try and catch around all that they do.
int32_t check_settings(const dropsonde_settings *settings, dropsonde_error *error) try {
    if (path_of(settings).rfind('/', 0) != 0)
        return dropsonde_wrong_setting(error, "path", "a path begins with /");
    return DROPSONDE_OK;
} catch (const std::exception &exception) {
    return dropsonde_failed(error, "%s", exception.what());
}

int32_t create(const dropsonde_settings *settings, const dropsonde_host *host,
               dropsonde_error *error, void **instance) try {
    *instance = new Watch{host, path_of(settings)};
    return DROPSONDE_OK;
} catch (const std::exception &exception) {
    return dropsonde_failed(error, "%s", exception.what());
}

int32_t run(void *instance, const dropsonde_sink *sink, dropsonde_error *error) try {
    const auto *self = static_cast<Watch *>(instance);
    struct stat before{}, now{};
    bool was = stat(self->path.c_str(), &before) == 0;
    self->host->log(self->host, DROPSONDE_INFO, ("watching " + self->path).c_str());
    while (sink->wait(sink, 500'000'000) == 0) {
        const bool is = stat(self->path.c_str(), &now) == 0;
        const bool same = now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
                          now.st_mtim.tv_nsec == before.st_mtim.tv_nsec &&
                          now.st_ino == before.st_ino && now.st_size == before.st_size;
        if (is != was || (is && !same)) {
            dropsonde_push(sink, 0, dropsonde_text(self->path.c_str()),
                           is ? dropsonde_i64(now.st_size) : dropsonde_missing(),
                           dropsonde_bool(is));
        }
        was = is;
        before = now;
    }
    return DROPSONDE_OK;
} catch (const std::exception &exception) {
    return dropsonde_failed(error, "%s", exception.what());
}

void destroy(void *instance) { delete static_cast<Watch *>(instance); }

// A field that is left out is empty; -Wextra warns of it in C++ alone.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
const dropsonde_column columns[] = {
    {.name = "path", .description = "The file.", .role = DROPSONDE_KEY, .type = DROPSONDE_TEXT},
    {.name = "size_bytes", .unit = "By", .description = "Its size, if it is there.",
     .role = DROPSONDE_GAUGE, .type = DROPSONDE_I64},
    {.name = "exists", .description = "Whether it is there.", .role = DROPSONDE_ATTRIBUTE,
     .type = DROPSONDE_BOOL},
};
const dropsonde_stream streams[] = {{.name = "changed", .description = "A file has changed.",
                                     .columns = columns, .column_count = 3,
                                     .kind = DROPSONDE_EVENT}};

} // namespace

DROPSONDE_MANIFEST("watch_file", "1.0.0", "Changes of a file.", DROPSONDE_EVENTS, 0);
const dropsonde_plugin dropsonde_c_plugin = {
    DROPSONDE_TABLE, .streams = streams, .stream_count = 1, .check_settings = check_settings,
    .create = create, .run = run, .destroy = destroy,
};
