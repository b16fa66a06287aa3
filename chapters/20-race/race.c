/*
 * 20 · The race
 *
 * Reads random blocks of one file by each mechanism of the book, in turn, and
 * prints what each one was worth: reads per second, latencies, system calls and
 * processor time.
 *
 * Watch for: which engine is ahead, cold, with --direct, and with --warm, where
 * a plain read() is hard to beat. And what the last two columns cost.
 *
 * The engines are a file each, beside this one. A new one is its file, its name
 * in CMakeLists.txt, and a line in the list below.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/20-race/?*.c common/?*.c \
 *           -lz -luring -o 20-race
 *
 * Needs: Linux 4.18 or later; liburing 2.3. An engine that needs more says so.
 * Manual pages: those of the chapters; fio(1).
 */
#define _GNU_SOURCE
#include "race.h"

#include "args.h"
#include "blocks.h"
#include "cost.h"
#include "disk.h"
#include "report.h"
#include "timeline.h"
#include "tool.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order of the book. Each has a file of its own, beside this one. */
#define ALL(ENGINE)                                                            \
    ENGINE(read)                                                               \
    ENGINE(advise)                                                             \
    ENGINE(threads)                                                            \
    ENGINE(posix_aio)                                                          \
    ENGINE(io_submit)                                                          \
    ENGINE(uring)                                                              \
    ENGINE(liburing)                                                           \
    ENGINE(liburing_fixed)                                                     \
    ENGINE(liburing_sqpoll)

#define DECLARE(name) extern const struct engine engine_##name;
#define ADDRESS(name) &engine_##name,
ALL(DECLARE)
static const struct engine *const engines[] = {ALL(ADDRESS)};
enum { ENGINES = sizeof(engines) / sizeof(*engines) };

/* Offsets are kept in memory, and what is warm has to fit there as well: of a
   larger file its first part is read. */
enum { MAX_COUNT = 1 << 18, MAX_BYTES = 1 << 30, SAMPLED = 64 };

static unsigned ms = 200, rounds = 5, depth = 32, size = 4096, direct, buffered,
                warm;
static unsigned batch, csv, against_fio, sweep;
static const char *list, *plot;
static const char *const sweeps[] = {"none", "depth", NULL};

static const struct program program;
static unsigned choose(const struct engine **chosen);

static void need_tool(const char *option, const char *name)
{
    if (!tool_exists(name))
        cannot_show("%s needs %s; ./tour setup installs it", option, name);
}

static void ready(const struct args *args)
{
    const struct engine *chosen[ENGINES];

    (void)args;
    if (size % (unsigned)sysconf(_SC_PAGESIZE) && !direct && !warm)
        args_wrong(&program,
                   "--size: %u bytes are no whole pages, and what is read "
                   "beside them is not cold; see --direct and --warm",
                   size);
    if (direct && (warm || buffered))
        args_wrong(&program, "--direct: not with --%s",
                   warm ? "warm" : "buffered");
    choose(chosen);
    if (plot)
        need_tool("--plot", "gnuplot");
    if (against_fio)
        need_tool("--against-fio", "fio");
}

static const struct program program = {
    .name = "20-race",
    .does = "Races all mechanisms of the book: random reads from one file.",
    .ready = ready,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_SECONDS("seconds", "of a heat at most", &ms, 10, 600 * 1000),
            OPTION_NUMBER("rounds", "how often each has its turn", &rounds, 1,
                          MAX_ROUNDS),
            OPTION_NUMBER("depth", "reads in flight", &depth, 1, MAX_DEPTH),
            OPTION_NUMBER("batch",
                          "completions before a submit (2; all, if warm)",
                          &batch, 1, MAX_DEPTH),
            OPTION_SIZE("size", "bytes of a read", &size, 512, 1 << 20),
            OPTION_SWITCH("direct", "with O_DIRECT, from the disk", &direct),
            OPTION_SWITCH("buffered", "through the page cache (so by default)",
                          &buffered),
            OPTION_SWITCH("warm", "buffered, all pages cached beforehand",
                          &warm),
            OPTION_TEXT("engines", "only these, with commas", &list, "LIST"),
            OPTION_WORD("sweep", "what grows from 1 to 128", &sweep, sweeps),
            OPTION_SWITCH("against-fio", "and each beside fio's", &against_fio),
            OPTION_SWITCH("csv", "a line for each heat, no tables", &csv),
            OPTION_TEXT("plot", "draw it, as SVG", &plot, "FILE"), OPTION_END},
};

static const char BEFORE[] = "before the race";

/* --- The course ----------------------------------------------------------- */

/* As much memory, up to the end of its last page. */
static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (bytes + page - 1) / page * page;
}

/* The blocks of the file, each one once, in random order: the same in all heats,
   and in all runs. Of a large file only those of its first part. */
static void pick_offsets(struct course *course, off_t file_size)
{
    unsigned short seed[3] = {1, 2, 3};
    uint64_t blocks = (uint64_t)file_size / course->size;

    if (blocks < course->depth)
        errx(1,
             "%s is too small: %u reads of %u bytes in flight, and it has room "
             "for %ju",
             course->path, course->depth, course->size, (uintmax_t)blocks);
    if (blocks > MAX_COUNT)
        blocks = MAX_COUNT;
    if (blocks > MAX_BYTES / course->size)
        blocks = MAX_BYTES / course->size;
    course->count = (unsigned)blocks;
    course->offsets = calloc(course->count, sizeof(*course->offsets));
    course->right = calloc(course->count / CHECKED + 1, sizeof(*course->right));
    if (!course->offsets || !course->right)
        err(1, "allocating %u offsets", course->count);

    /* Fisher and Yates: each changes places with itself, or one before. */
    for (unsigned i = 0; i < course->count; i++) {
        unsigned k = (unsigned)nrand48(seed) % (i + 1);
        course->offsets[i] = course->offsets[k];
        course->offsets[k] = (off_t)i * course->size;
    }
}

static void open_course(struct course *course, struct blocks *blocks,
                        struct args *args)
{
    unsigned max = sweep ? 1 << (MAX_DEPTHS - 1) : depth;

    args->count = 1; /* It is to see to it that there is a file to read. */
    args->size = whole_pages(size);
    args->trace = plot; /* And that we don't draw over it. */
    blocks_open(blocks, args);
    *course = (struct course){.path = args->file,
                              .fd = blocks->fd,
                              .mode = direct ? DIRECT
                                      : warm ? WARM
                                             : COLD,
                              .size = size,
                              .depth = max,
                              .time = (int64_t)ms * 1000000};
    pick_offsets(course, blocks->file_size);
    blocks_drop(blocks);
    if (direct)
        course->fd = disk_open_direct(course->path);
    for (unsigned i = 0; i < course->count; i += CHECKED) {
        course_read(course, BEFORE, course->offsets[i], blocks->memory, 0);
        course->right[i / CHECKED] = sum_of(blocks->memory, size);
    }
}

/* Pages of some of the blocks that are cached, of `SAMPLED` at most. */
static long cached(const struct course *course, const struct blocks *blocks,
                   unsigned *of)
{
    off_t page = sysconf(_SC_PAGESIZE);
    struct block some[SAMPLED];
    struct blocks sample = *blocks;

    sample.count = course->count < SAMPLED ? course->count : SAMPLED;
    sample.block = some;
    for (unsigned i = 0; i < sample.count; i++)
        some[i] = (struct block){.offset = course->offsets[i] / page * page,
                                 .length = size};
    *of = (unsigned)blocks_pages(&sample);
    return blocks_resident(&sample);
}

/* Before each heat: as many pages in the cache as its mode wants. */
static void prepare(const struct course *course, const struct blocks *blocks)
{
    if (course->mode == COLD)
        blocks_drop(blocks);
    for (unsigned i = 0; course->mode == WARM && i < course->count; i++)
        course_read(course, BEFORE, course->offsets[i], blocks->memory, 0);
}

/* --- A heat --------------------------------------------------------------- */

/* Add up what the lanes have, into this round of the entry. */
static void record(struct entry *entry, unsigned round, const struct heat *heat,
                   double wall, double processors)
{
    struct histogram *all = calloc(1, sizeof(*all));
    uint64_t calls = 0, reads = 0;
    unsigned in_flight = 0;

    if (!all)
        err(1, "allocating a histogram");
    for (unsigned i = 0; i < heat->course->depth; i++) {
        const struct lane *lane = &heat->lanes[i];
        histogram_merge(all, &lane->latencies);
        calls += lane->calls;
        reads += lane->reads;
        in_flight += lane->most_in_flight;
    }
    entry->in_flight[round] = in_flight;
    entry->reads[round] = reads;
    entry->seconds[round] = wall;
    entry->value[RATE][round] = (double)reads / wall;
    entry->value[P50][round] = histogram_at(all, 0.5) / 1000;
    entry->value[P99][round] = histogram_at(all, 0.99) / 1000;
    entry->value[P999][round] = histogram_at(all, 0.999) / 1000;
    entry->value[CALLS][round] = (double)calls / (double)reads;
    entry->value[CPU][round] = processors * 1e6 / (double)reads;
    free(all);
}

static void run_heat(const struct engine *engine, const struct course *course,
                     struct slot *slots, struct entry *entry, unsigned round)
{
    struct heat heat = {.course = course,
                        .name = engine->name,
                        .slots = slots,
                        .lanes = calloc(course->depth, sizeof(struct lane)),
                        .last =
                            course->mode == COLD ? course->count : UINT64_MAX};
    struct cost before, after;

    if (!heat.lanes)
        err(1, "allocating %u lanes", course->depth);
    for (unsigned i = 0; i < course->depth; i++)
        heat.lanes[i].heat = &heat;
    if (!engine->open || engine->open(&heat)) {
        cost_look(&before);
        int64_t began = timeline_now();
        heat.deadline = began + course->time;
        engine->run(&heat);
        double wall = (double)(timeline_now() - began) / 1e9;
        cost_look(&after);
        if (engine->close)
            engine->close(&heat);
        record(entry, round, &heat, wall, cost_between(&before, &after));
    } else {
        memcpy(entry->why, heat.why, WHY);
    }
    free(heat.lanes);
}

/* --- The race ------------------------------------------------------------- */

/* The cursor goes back, so that an error message replaces the line. */
static void progress(const char *what, unsigned round,
                     const struct entry *entry)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\033[K%s: round %u of %u, %u in flight\r", what,
                round + 1, rounds, entry->depth);
}

/* An engine's turn, and fio's: who is first changes from round to round. */
static void turn(const struct engine *engine, const struct course *course,
                 const struct blocks *blocks, struct slot *slots,
                 struct entry *entry, unsigned round)
{
    for (unsigned i = 0; i < 2 && !*entry->why; i++) {
        bool ours = (round + i) % 2 == 0;
        if (!ours && !entry->fio_name)
            continue;
        progress(ours ? entry->name : "fio", round, entry);
        prepare(course, blocks);
        if (ours)
            run_heat(engine, course, slots, entry, round);
        else
            entry->fio[round] = fio_heat(entry->name, course);
    }
}

/* All rounds at one depth. A B C A B C: what disturbs the machine for a while
   disturbs all. */
static void race(const struct course *course, const struct blocks *blocks,
                 const struct engine *const *chosen, unsigned count,
                 struct entry *entries)
{
    size_t room = whole_pages(course->size);
    unsigned char *memory =
        aligned_alloc((size_t)sysconf(_SC_PAGESIZE), course->depth * room);
    struct slot *slots = calloc(course->depth, sizeof(*slots));

    if (!memory || !slots)
        err(1, "allocating %u buffers of %zu bytes", course->depth, room);
    memset(memory, 1, course->depth * room); /* Nobody has to touch it first. */
    for (unsigned i = 0; i < course->depth; i++)
        slots[i].data = memory + i * room;
    for (unsigned i = 0; i < count; i++) {
        entries[i].name = chosen[i]->name;
        entries[i].depth = course->depth;
        entries[i].fio_name = against_fio ? fio_name(chosen[i]->name) : NULL;
    }
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < count; i++)
            turn(chosen[i], course, blocks, slots, &entries[i], round);
    free(slots);
    free(memory);
}

/* --engines LIST: which, in the order of the book. */
static unsigned choose(const struct engine **chosen)
{
    unsigned count = 0, named = 0;

    for (unsigned i = 0; i < ENGINES; i++) {
        const char *name = engines[i]->name, *at = list;
        bool wanted = !list;
        while (at && !wanted) {
            size_t length = strcspn(at, ",");
            wanted = length == strlen(name) && strncmp(at, name, length) == 0;
            at = at[length] ? at + length + 1 : NULL;
        }
        if (wanted)
            chosen[count++] = engines[i];
    }
    for (const char *at = list; at; named++)
        at = (at = strchr(at, ',')) ? at + 1 : NULL;
    if (!list || named == count)
        return count;
    char all[200] = "";
    for (unsigned i = 0; i < ENGINES; i++) {
        strcat(all, " ");
        strcat(all, engines[i]->name);
    }
    args_wrong(&program, "--engines: '%s': each may be named once, of these:%s",
               list, all);
}

static void announce(const struct course *course, const struct blocks *blocks)
{
    static const char *const modes[] = {[COLD] = "through the page cache, cold",
                                        [WARM] = "through the page cache, warm",
                                        [DIRECT] = "with O_DIRECT"};
    const char *name = strrchr(course->path, '/');
    unsigned pages;

    prepare(course, blocks);
    long in_cache = cached(course, blocks, &pages);
    printf("random reads of %u bytes from %s, %s\n", size,
           name && name[1] ? name + 1 : course->path, modes[course->mode]);
    if (in_cache == PAGES_UNKNOWN)
        puts(
            "cached when a heat begins: unknown (mincore() tells of files that "
            "you own\nor may write, and can map)");
    else
        printf("cached when a heat begins: %ld of %u pages looked at\n",
               in_cache, pages);
    if (in_cache > 0 && course->mode != WARM)
        puts("(pages stay that are dirty or mapped, and on tmpfs all do; "
             "sync(1) makes\nthem clean)");
    printf("medians of %u round%s, heats of %g s", rounds,
           rounds == 1 ? "" : "s", ms / 1e3);
    if (course->mode == COLD)
        printf(", or of %u reads: each block once", course->count);
    if (blocks->file_size / size > course->count)
        printf("; the file's first %u MiB",
               (unsigned)((uint64_t)course->count * size >> 20));
    puts("\n");
    fflush(stdout); /* It takes a while. An error is told at the end. */
}

static void report(struct report *report)
{
    if (csv)
        report_csv(report);
    else if (sweep)
        report_sweep(report, against_fio);
    else
        report_tables(report);
    if (against_fio && !csv && !sweep)
        report_fio(report);
    if (plot)
        report_plot(report, plot);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    const struct engine *chosen[ENGINES];
    struct blocks blocks;
    struct course course;

    unsigned count = choose(chosen);

    open_course(&course, &blocks, &args);
    unsigned depths = sweep ? MAX_DEPTHS : 1;
    struct entry *entries = calloc(depths * count, sizeof(*entries));
    if (!entries)
        err(1, "allocating the results");
    if (!csv)
        announce(&course, &blocks);
    for (unsigned d = 0; d < depths; d++) {
        course.depth = sweep ? 1U << d : depth;
        /* A disk waits for us: the next read shall reach it soon. Where nobody
           waits, the more in a call the better. */
        course.batch = batch ? batch : warm ? course.depth : 2;
        race(&course, &blocks, chosen, count, entries + d * count);
    }
    if (isatty(STDERR_FILENO))
        fputs("\033[K", stderr);
    unsigned ran = 0;
    for (unsigned i = 0; i < depths * count; i++)
        ran += !*entries[i].why;
    if (ran == 0)
        cannot_show("%s: %s", entries[0].name, entries[0].why);
    report(&(struct report){.course = &course,
                            .rounds = rounds,
                            .engines = count,
                            .depths = depths,
                            .entries = entries});
    free(entries);
    free(course.offsets);
    free(course.right);
    if (direct && close(course.fd))
        err(1, "closing %s", course.path);
    blocks_close(&blocks);
    return 0;
}
