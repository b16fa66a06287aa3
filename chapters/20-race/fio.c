/*
 * 20 · The race: the same heat, run by fio.
 */
#include "tool.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Our engine; how the table calls fio's; the options that make it. */
static const struct counterpart {
    const char *engine, *name, *options[4];
} counterparts[] = {
    {"read", "psync", {"--ioengine=psync"}},
    {"posix-aio", "posixaio", {"--ioengine=posixaio"}},
    {"io-submit", "libaio", {"--ioengine=libaio"}},
    {"uring", "io_uring", {"--ioengine=io_uring"}},
    {"liburing", "io_uring", {"--ioengine=io_uring"}},
    {"liburing-fixed",
     "fixedbufs",
     {"--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1"}},
    {"liburing-sqpoll",
     "sqthread_poll",
     {"--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1",
      "--sqthread_poll=1"}},
};

static const struct counterpart *counterpart_of(const char *engine)
{
    for (size_t i = 0; i < sizeof(counterparts) / sizeof(*counterparts); i++)
        if (strcmp(counterparts[i].engine, engine) == 0)
            return &counterparts[i];
    return NULL;
}

const char *fio_name(const char *engine)
{
    const struct counterpart *c = counterpart_of(engine);

    return c ? c->name : NULL;
}

/* The eighth field of what fio calls terse, version 3. */
static double reads_a_second(const char *terse)
{
    const char *field = terse;

    for (int i = 1; i < 8 && field; i++) {
        field = strchr(field, ';');
        field = field ? field + 1 : NULL;
    }
    double rate = field ? strtod(field, NULL) : 0;
    if (rate <= 0)
        errx(1, "running fio: it says no rate: %s", terse);
    return rate;
}

double fio_heat(const char *engine, const struct course *course)
{
    const struct counterpart *c = counterpart_of(engine);
    char bytes[32], size[32], depth[32], runtime[32], submit[48], max[48];
    /* Names mean more to fio than to us: it gets the open file, as stdin. */
    const char *arguments[24] = {"fio",
                                 "--name=race",
                                 "--filename=/dev/fd/0",
                                 "--readonly",
                                 "--rw=randread",
                                 "--thread",
                                 "--output-format=terse",
                                 "--terse-version=3",
                                 "--iodepth_batch_complete_min=1",
                                 bytes,
                                 size,
                                 depth,
                                 runtime,
                                 submit,
                                 max};
    unsigned n = 15;

    snprintf(bytes, sizeof(bytes), "--size=%ju",
             (uintmax_t)course->count * course->size);
    snprintf(submit, sizeof(submit), "--iodepth_batch_submit=%u",
             course->batch);
    snprintf(max, sizeof(max), "--iodepth_batch_complete_max=%u",
             course->batch);
    snprintf(size, sizeof(size), "--bs=%u", course->size);
    snprintf(depth, sizeof(depth), "--iodepth=%u", course->depth);
    snprintf(runtime, sizeof(runtime), "--runtime=%jdms",
             (intmax_t)(course->time / 1000000));
    for (int i = 0; i < 4 && c->options[i]; i++)
        arguments[n++] = c->options[i];
    if (course->mode == DIRECT)
        arguments[n++] = "--direct=1";
    if (course->mode == WARM) /* Else it drops the pages first, as we do. */
        arguments[n++] = "--invalidate=0";
    if (course->mode != COLD) { /* Else it ends when it has read everything. */
        arguments[n++] = "--time_based";
        arguments[n++] = "--norandommap";
    }
    char *terse = tool_run(arguments, course->fd);
    double rate = reads_a_second(terse);
    free(terse);
    return rate;
}
