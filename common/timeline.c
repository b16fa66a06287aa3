#define _GNU_SOURCE
#include "timeline.h"

#include "args.h"
#include "save.h"
#include "terminal.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* --- Recording ----------------------------------------------------------- */

int64_t timeline_now(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_MONOTONIC, &t))
        err(1, "reading the clock");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct rusage usage_of(int who)
{
    struct rusage usage;

    if (getrusage(who, &usage))
        err(1, "asking for the count of context switches");
    return usage;
}

long timeline_sleeps(void)
{
    return usage_of(RUSAGE_THREAD).ru_nvcsw;
}

long timeline_switches(void)
{
    struct rusage usage = usage_of(RUSAGE_SELF);

    return usage.ru_nvcsw + usage.ru_nivcsw;
}

struct timeline *timeline_new(const char *title, unsigned blocks)
{
    struct timeline *timeline = calloc(1, sizeof(*timeline));

    if (!timeline)
        err(1, "allocating a timeline");
    timeline->title = title;
    timeline->blocks = blocks;
    timeline->facts = FACTS;
    timeline->block = calloc(blocks, sizeof(*timeline->block));
    /* Room for the main thread's calls beforehand, so that recording one
       seldom has to ask for memory in the middle of the job. */
    timeline->room = 4 * blocks;
    timeline->main = calloc(timeline->room, sizeof(*timeline->main));
    if (!timeline->block || !timeline->main)
        err(1, "allocating a timeline of %u blocks", blocks);
    return timeline;
}

void timeline_free(struct timeline *timeline)
{
    free(timeline->origin);
    free(timeline->main);
    free(timeline->block);
    free(timeline);
}

void timeline_start(struct timeline *timeline)
{
    timeline->sleeps = timeline_sleeps();
    timeline->start = timeline_now();
}

void timeline_stop(struct timeline *timeline)
{
    timeline->total = timeline_now() - timeline->start;
    timeline->sleeps = timeline_sleeps() - timeline->sleeps;
}

/* Slow motion: somebody looks on, and says when to go on. */
__attribute__((format(printf, 2, 3))) static void
step(struct timeline *timeline, const char *what, ...)
{
    char text[80];
    va_list arguments;

    if (!timeline->step)
        return;
    va_start(arguments, what);
    vsnprintf(text, sizeof(text), what, arguments);
    va_end(arguments);
    timeline->step(timeline->step_context, text, false);
}

void timeline_submitted(struct timeline *timeline, unsigned block)
{
    struct bar *bar = &timeline->block[block];

    timeline->submitted = block;
    if (bar->begin == 0) { /* Else it is the rest, after a short read. */
        bar->past = timeline->past;
        bar->begin = timeline_now() - timeline->start;
        timeline->open++;
    }
    step(timeline, "We filled an SQE: read block %u", block);
}

/* Without a watch: a block is found complete. Which call was the last, besides
   looks? A submit of its own, be it the second one, after a short read; a wait; or
   the submit of another block. */
static enum came came_by_calls(const struct timeline *timeline, unsigned block)
{
    unsigned i = timeline->calls;

    while (i > 0 && timeline->main[i - 1].call == CALL_LOOK)
        i--;
    if (i > 0 && timeline->main[i - 1].call == CALL_WAIT)
        return IN_WAIT;
    if (timeline->past - timeline->block[block].past <= 1 ||
        block == timeline->submitted)
        return IN_SUBMIT;
    return BETWEEN;
}

/* What a completion that comes in such a call counts as. */
static const enum came came_in[] = {[CALL_SUBMIT] = IN_SUBMIT,
                                    [CALL_LOOK] = BETWEEN,
                                    [CALL_WAIT] = IN_WAIT,
                                    [OWN_WORK] = AT_WORK};

/* Somebody else can say when a block came: in which call was the main thread then? */
static enum came came_at(const struct timeline *timeline, int64_t when)
{
    for (unsigned i = timeline->calls; i > 0; i--) {
        const struct bar *bar = &timeline->main[i - 1];
        if (bar->begin <= when && when <= bar->end)
            return came_in[bar->call];
    }
    return BETWEEN;
}

void timeline_completed(struct timeline *timeline, unsigned block)
{
    enum came came;

    timeline->block[block].end = timeline_now() - timeline->start;
    if (!timeline->ring.cq_tail) {
        came = came_by_calls(timeline, block);
    } else if (timeline->reaped < timeline->origins) {
        came = timeline->origin[timeline->reaped++];
    } else { /* It came after the last mark. */
        came = BETWEEN;
        timeline->reaped++;
    }
    timeline->came[came]++;
    timeline->open--;
    step(timeline, "We read a CQE: block %u is complete", block);
}

void timeline_completed_all(struct timeline *timeline)
{
    for (unsigned i = 0; i < timeline->blocks; i++) {
        timeline_completed(timeline, i);
        timeline->block[i].end = timeline->block[0].end;
    }
}

void timeline_read(struct timeline *timeline, unsigned block, int64_t begin,
                   int64_t end)
{
    struct bar *bar = &timeline->block[block];

    bar->begin = begin - timeline->start;
    bar->end = end - timeline->start;
    timeline->came[came_at(timeline, bar->end)]++;
}

void timeline_partly(struct timeline *timeline)
{
    timeline->reaped++;
    step(timeline, "We read a CQE: more of its block is to be read");
}

void timeline_worked(struct timeline *timeline)
{
    timeline->work++;
    timeline->meanwhile += timeline->open > 0;
}

void timeline_stored(struct timeline *timeline, const char *which)
{
    char text[80];

    if (!timeline->step)
        return;
    snprintf(text, sizeof(text), "We stored the %s", which);
    timeline->step(timeline->step_context, text, true);
}

static unsigned load(const _Atomic unsigned *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

void timeline_watch(struct timeline *timeline, struct ring_counters ring)
{
    timeline->ring = ring;
    timeline->origins = timeline->reaped = timeline->in_flight = 0;
    timeline->before = load(ring.cq_tail);
}

/* Completions that have come since the last look came now. */
static void see_completions(struct timeline *timeline, enum came came)
{
    if (!timeline->ring.cq_tail)
        return;
    unsigned count = load(timeline->ring.cq_tail) - timeline->before;
    if (count > timeline->origin_room) {
        timeline->origin_room = 2 * count + timeline->blocks;
        timeline->origin = realloc(timeline->origin, timeline->origin_room);
        if (!timeline->origin)
            err(1, "allocating a timeline of %u completions", count);
    }
    while (timeline->origins < count)
        timeline->origin[timeline->origins++] = (unsigned char)came;
    if (came != IN_SUBMIT)
        return;
    unsigned in_flight =
        load(timeline->ring.sq_head) - load(timeline->ring.cq_head);
    if (in_flight > timeline->in_flight)
        timeline->in_flight = in_flight;
}

void timeline_call(struct timeline *timeline, enum call call)
{
    see_completions(timeline, BETWEEN);
    if (timeline->calls == timeline->room) {
        unsigned room = 2 * timeline->room;
        struct bar *more =
            realloc(timeline->main, room * sizeof(*timeline->main));
        if (!more)
            err(1, "allocating a timeline of %u calls", room);
        timeline->main = more;
        timeline->room = room;
    }
    struct bar *bar = &timeline->main[timeline->calls];
    bar->call = call;
    /* getrusage() is a way into the kernel, and completions may come on it. */
    bar->sleeps = call == OWN_WORK ? 0 : timeline_sleeps();
    bar->begin = timeline_now() - timeline->start;
}

void timeline_return(struct timeline *timeline)
{
    static const char *const done[] = {
        [CALL_SUBMIT] = "The submit has returned",
        [CALL_LOOK] = "The look has returned",
        [CALL_WAIT] = "The wait has returned",
        [OWN_WORK] = "We worked, and made no system call"};
    int error = errno;
    struct bar *bar = &timeline->main[timeline->calls];

    see_completions(timeline, came_in[bar->call]);
    bar->end = timeline_now() - timeline->start;
    if (bar->call != OWN_WORK)
        bar->sleeps = timeline_sleeps() - bar->sleeps;
    timeline->past += bar->call == CALL_SUBMIT || bar->call == CALL_WAIT;
    timeline->calls++;
    step(timeline, "%s", done[bar->call]);
    errno = error;
}

void timeline_threads(struct timeline *timeline)
{
    DIR *tasks = opendir("/proc/self/task");
    unsigned threads = 0;

    if (!tasks)
        return; /* /proc is not mounted, or no descriptor is left. */
    errno = 0;
    for (struct dirent *task; (task = readdir(tasks));)
        threads += task->d_name[0] != '.';
    if (errno)
        err(1, "reading /proc/self/task");
    closedir(tasks);
    if (threads > timeline->threads)
        timeline->threads = threads;
}

/* --- Drawing ------------------------------------------------------------- */

/* How a stretch of a lane looks. Later ones win where two share a cell. */
enum look {
    NOTHING,
    WORKING,
    RUNNING,
    WAITING,
    BLOCKED,
    BLOCK,
    DOT,
    COMPLETE,
    LOOKS
};

static const struct {
    const char *utf8, *ascii, *color;
} looks[LOOKS] = {
    [NOTHING] = {" ", " ", ""},         [WORKING] = {"▚", "+", "\033[33m"},
    [RUNNING] = {"▒", "-", "\033[32m"}, [WAITING] = {"░", ".", "\033[34m"},
    [BLOCKED] = {"█", "#", "\033[31m"}, [BLOCK] = {"━", "=", "\033[36m"},
    [DOT] = {"·", ".", "\033[32m"},     [COMPLETE] = {"◆", "*", "\033[36m"},
};

/* In columns. LEGEND: so many does the legend take in one line. */
enum { LABEL = 10, WIDTH = 80, MIN_WIDTH = LABEL + 10, LEGEND = 72 };

static unsigned lane_width(void)
{
    unsigned width = terminal_columns();

    if (width == 0 || width > WIDTH)
        width = WIDTH;
    return (width < MIN_WIDTH ? MIN_WIDTH : width) - LABEL;
}

/* A time's place in the lane. Two bars that meet round to the same cell edge:
   one ends where the other begins, and they don't seem to overlap. */
static unsigned cell(int64_t time, int64_t full, unsigned width)
{
    return (unsigned)((time * width + full / 2) / full);
}

static void fill(enum look *lane, unsigned width, const struct bar *bar,
                 int64_t full, enum look look)
{
    unsigned from = cell(bar->begin, full, width);
    unsigned to = cell(bar->end, full, width);

    if (from == width)
        from--; /* Too short to be seen, at the very end: show it still. */
    if (to == from)
        to++;
    for (unsigned i = from; i < to && i < width; i++)
        if (lane[i] < look)
            lane[i] = look;
}

static void print_look(enum look look, bool color)
{
    const char *text =
        terminal_in_utf8() ? looks[look].utf8 : looks[look].ascii;

    if (color && *looks[look].color)
        printf("%s%s\033[0m", looks[look].color, text);
    else
        fputs(text, stdout);
}

static void print_lane(const char *label, const enum look *lane, unsigned width)
{
    bool color = terminal_in_color();

    while (width > 0 && lane[width - 1] == NOTHING)
        width--; /* No blanks at a line's end. */
    printf("%-*s", width > 0 ? LABEL : 0, label);
    for (unsigned i = 0; i < width; i++)
        print_look(lane[i], color);
    putchar('\n');
}

static enum look look_of(const struct bar *call)
{
    if (call->call == OWN_WORK)
        return WORKING;
    if (call->sleeps == 0)
        return RUNNING;
    return call->call == CALL_SUBMIT ? BLOCKED : WAITING;
}

static double ms(int64_t nanoseconds)
{
    return (double)nanoseconds / 1e6;
}

/* All that a main lane can hold, whether or not it does: what is printed shall
   not depend on what took how long. `facts` tells whether there is own work, and
   `complete` whether it is marked when blocks are complete. */
static void print_legend(unsigned lane, unsigned facts, bool complete)
{
    static const char *const meaning[LOOKS] = {
        [WORKING] = "works on its own, no system call",
        [RUNNING] = "in a system call, running",
        [WAITING] = "waits, by choice",
        [BLOCKED] = "waits in submit",
        [COMPLETE] = "finds blocks complete",
    };
    const char *line = "\n      ",
               *between = LABEL + lane < LEGEND ? line : "  ";

    fputs("main: ", stdout);
    if (facts & (FACT_WORK | FACT_OWN_WORK)) {
        print_look(WORKING, terminal_in_color());
        printf(" %s%s", meaning[WORKING], complete ? between : line);
    }
    if (complete) {
        print_look(COMPLETE, terminal_in_color());
        printf(" %s%s", meaning[COMPLETE], line);
    }
    for (enum look look = RUNNING; look <= BLOCKED; look++) {
        print_look(look, terminal_in_color());
        printf(" %s%s", meaning[look], look < BLOCKED ? between : "\n");
    }
}

static void print_legend_of_dots(void)
{
    fputs("ticks: ", stdout);
    print_look(DOT, terminal_in_color());
    puts(" one or more handled");
}

static void print_legend_of_blocks(void)
{
    fputs("block: ", stdout);
    print_look(BLOCK, terminal_in_color());
    puts(" in flight\n");
}

/* 0 at the left, the whole time at the right. */
static void print_ruler(const char *title, int64_t full, unsigned width)
{
    char text[32];

    snprintf(text, sizeof(text), "%.2f ms", ms(full));
    printf("%-*s0%*s\n", LABEL, title, (int)width - 1, text);
}

static void print_main(const char *label, const struct timeline *timeline,
                       int64_t full, unsigned width, bool complete)
{
    enum look lane[WIDTH] = {NOTHING};

    for (unsigned i = 0; i < timeline->calls; i++) {
        const struct bar *call = &timeline->main[i];
        fill(lane, width, call, full, look_of(call));
    }
    for (unsigned i = 0; complete && i < timeline->blocks; i++) {
        int64_t end = timeline->block[i].end;
        fill(lane, width, &(struct bar){.begin = end, .end = end}, full,
             COMPLETE);
    }
    print_lane(label, lane, width);
}

/* A dot where a look has returned. */
static void print_ticks(const struct timeline *timeline, int64_t full,
                        unsigned width)
{
    enum look lane[WIDTH] = {NOTHING};

    for (unsigned i = 0; i < timeline->calls; i++) {
        struct bar end = timeline->main[i];

        end.begin = end.end;
        if (end.call == CALL_LOOK)
            fill(lane, width, &end, full, DOT);
    }
    print_lane("ticks", lane, width);
}

void timeline_draw(const struct timeline *timeline,
                   const struct timeline *scale)
{
    unsigned width = lane_width();
    int64_t full =
        timeline->total > scale->total ? timeline->total : scale->total;

    if (full < 1)
        full = 1; /* A clock too coarse to see it. */
    if (timeline->facts & FACT_TICKS)
        print_ticks(timeline, full, width);
    print_ruler(timeline->title, full, width);
    print_main("main", timeline, full, width, false);
    for (unsigned i = 0; i < timeline->blocks; i++) {
        enum look lane[WIDTH] = {NOTHING};
        char text[32];

        fill(lane, width, &timeline->block[i], full, BLOCK);
        snprintf(text, sizeof(text), "block %u", i);
        print_lane(text, lane, width);
    }

    if (timeline->facts & FACT_TICKS)
        print_legend_of_dots();
    print_legend(width, timeline->facts, false);
    print_legend_of_blocks();
}

void timeline_draw_main(struct timeline *const *timelines)
{
    unsigned width = lane_width();
    int64_t full = 1;

    for (unsigned i = 0; timelines[i]; i++)
        if (timelines[i]->total > full)
            full = timelines[i]->total;
    /* A ring tells of several completions at once. Where each call brings a block,
       the bars say it. */
    bool complete = timelines[0]->facts & FACT_COMPLETED;

    print_ruler("", full, width);
    for (unsigned i = 0; timelines[i]; i++)
        print_main(timelines[i]->title, timelines[i], full, width, complete);
    print_legend(width, timelines[0]->facts, complete);
    putchar('\n');
}

/* --- The facts ----------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int by_end(const void *a, const void *b)
{
    const struct bar *x = a, *y = b;

    return by_time(&x->end, &y->end);
}

/* A ring knows it. Else the bars tell. */
static unsigned most_in_flight(const struct timeline *timeline)
{
    if (timeline->ring.sq_head)
        return timeline->in_flight;

    unsigned n = timeline->blocks, max = 0, ended = 0;
    int64_t *begin = calloc(n, sizeof(*begin));
    int64_t *end = calloc(n, sizeof(*end));

    if (!begin || !end)
        err(1, "allocating the times of %u blocks", n);
    for (unsigned i = 0; i < n; i++) {
        begin[i] = timeline->block[i].begin;
        end[i] = timeline->block[i].end;
    }
    qsort(begin, n, sizeof(*begin), by_time);
    qsort(end, n, sizeof(*end), by_time);
    /* At each begin, those are in flight that have begun and not ended. One
       that ends in the same nanosecond has ended. */
    for (unsigned begun = 1; begun <= n; begun++) {
        while (ended < begun - 1 && end[ended] <= begin[begun - 1])
            ended++;
        if (begun - ended > max)
            max = begun - ended;
    }
    free(begin);
    free(end);
    return max;
}

static void print_order(const struct timeline *timeline)
{
    const unsigned max = 16; /* What fits a line. */
    struct bar *const bars = calloc(timeline->blocks, sizeof(*bars));

    if (!bars)
        err(1, "allocating the order of %u blocks", timeline->blocks);
    /* `begin` is not needed here: let it say which block the bar is of. */
    for (unsigned i = 0; i < timeline->blocks; i++)
        bars[i] = (struct bar){.begin = i, .end = timeline->block[i].end};
    qsort(bars, timeline->blocks, sizeof(*bars), by_end);
    fputs("completed in the order:", stdout);
    for (unsigned i = 0; i < timeline->blocks && i < max; i++)
        printf(" %u", (unsigned)bars[i].begin);
    puts(timeline->blocks > max ? " ..." : "");
    free(bars);
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* What the call adds to the time waited: all of it, or nothing. */
static int64_t waited_in(const struct bar *call)
{
    return call->sleeps > 0 ? call->end - call->begin : 0;
}

static int64_t waited(const struct timeline *timeline)
{
    int64_t time = 0;

    for (unsigned i = 0; i < timeline->calls; i++)
        time += waited_in(&timeline->main[i]);
    return time;
}

long timeline_slept(const struct timeline *timeline, enum call call)
{
    long sleeps = 0;

    for (unsigned i = 0; i < timeline->calls; i++)
        if (timeline->main[i].call == call)
            sleeps += timeline->main[i].sleeps;
    return sleeps;
}

static void print_blocked(const struct timeline *timeline)
{
    int64_t in_submit = 0;

    for (unsigned i = 0; i < timeline->calls; i++)
        if (timeline->main[i].call == CALL_SUBMIT)
            in_submit += waited_in(&timeline->main[i]);
    printf("main thread blocked: %.0f%% (%.0f%% in submit)\n",
           percent(waited(timeline), timeline->total),
           percent(in_submit, timeline->total));
}

static void print_calls(const struct timeline *timeline)
{
    unsigned calls[OWN_WORK + 1] = {0};

    for (unsigned i = 0; i < timeline->calls; i++)
        calls[timeline->main[i].call]++;
    printf("calls: %u to submit, %u to wait\n", calls[CALL_SUBMIT],
           calls[CALL_WAIT]);
}

static void print_time(const struct timeline *timeline)
{
    int64_t time[OWN_WORK + 1] = {0};

    for (unsigned i = 0; i < timeline->calls; i++)
        time[timeline->main[i].call] +=
            timeline->main[i].end - timeline->main[i].begin;
    printf("time: %.2f ms in submit, %.2f ms in wait, %.2f ms at work\n",
           ms(time[CALL_SUBMIT]), ms(time[CALL_WAIT]), ms(time[OWN_WORK]));
}

static void print_threads(const struct timeline *timeline)
{
    if (timeline->threads)
        printf("threads: %u\n", timeline->threads);
    else
        puts("threads: unknown, /proc/self/task can't be read");
}

static void add_fact(struct timeline *timeline, struct own_fact fact)
{
    unsigned i = 0;

    while (timeline->own[i].name)
        i++;
    if (i == TIMELINE_OWN_FACTS)
        errx(1, "more than %d facts of a pass", TIMELINE_OWN_FACTS);
    timeline->own[i] = fact;
}

void timeline_fact(struct timeline *timeline, const char *name, long value)
{
    add_fact(timeline, (struct own_fact){name, value, false});
}

void timeline_fact_time(struct timeline *timeline, const char *name,
                        int64_t nanoseconds)
{
    add_fact(timeline, (struct own_fact){name, nanoseconds, true});
}

/* By the bars of the blocks, as in the drawing. */
static bool in_flight_at(const struct timeline *timeline, int64_t when)
{
    for (unsigned i = 0; i < timeline->blocks; i++)
        if (timeline->block[i].begin <= when && when < timeline->block[i].end)
            return true;
    return false;
}

void timeline_facts_of_ticks(struct timeline *timeline)
{
    long handled = 0, meanwhile = 0;

    for (unsigned i = 0; i < timeline->calls; i++) {
        const struct bar *call = &timeline->main[i];

        if (call->call != CALL_LOOK)
            continue;
        handled++;
        meanwhile += in_flight_at(timeline, call->begin);
    }
    timeline_fact(timeline, "ticks handled", handled);
    timeline_fact(timeline, "ticks during the reads", meanwhile);
}

void timeline_facts(const struct timeline *timeline, uint32_t checksum)
{
    unsigned facts = timeline->facts;
    const unsigned *came = timeline->came;

    if (facts & FACT_WORK)
        printf("work: %u pieces, %u with blocks in flight\n", timeline->work,
               timeline->meanwhile);
    if (facts & FACT_CALLS)
        print_calls(timeline);
    if (facts & FACT_SLEEPS)
        printf("sleeps: %ld\n", timeline->sleeps);
    if (facts & FACT_IN_FLIGHT)
        printf("most in flight: %u\n", most_in_flight(timeline));
    if (facts & FACT_BLOCKED)
        print_blocked(timeline);
    if (facts & FACT_SLEEPS_IN_SUBMIT)
        printf("sleeps in submit: %ld\n",
               timeline_slept(timeline, CALL_SUBMIT));
    if (facts & FACT_THREADS)
        print_threads(timeline);
    if (facts & FACT_COMPLETED)
        printf("completed: %u in submit, %u in wait, %u at work, %u between\n",
               came[IN_SUBMIT], came[IN_WAIT], came[AT_WORK], came[BETWEEN]);
    if (facts & FACT_ORDER)
        print_order(timeline);
    if (facts & FACT_TIME)
        print_time(timeline);
    for (const struct own_fact *own = timeline->own; own->name; own++) {
        if (own->time)
            printf("%s: %.2f ms\n", own->name, (double)own->value / 1e6);
        else
            printf("%s: %" PRId64 "\n", own->name, own->value);
    }
    printf("total: %.2f ms\n", ms(timeline->total));
    printf("checksum: %08x\n", (unsigned)checksum);
}

/* --- The trace ----------------------------------------------------------- */

static void trace_name(FILE *out, const char *what, unsigned pid, unsigned tid,
                       const char *name)
{
    fprintf(out,
            "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%u,\"tid\":%u,"
            "\"args\":{\"name\":\"%s\"}},\n",
            what, pid, tid, name);
}

static void trace_bar(FILE *out, const struct bar *bar, unsigned pid,
                      unsigned tid, const char *name, const char *means)
{
    fprintf(out,
            "{\"ph\":\"X\",\"name\":\"%s\",\"pid\":%u,\"tid\":%u,"
            "\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"means\":\"%s\"}},\n",
            name, pid, tid, (double)bar->begin / 1e3,
            (double)(bar->end - bar->begin) / 1e3, means);
}

static void trace_pass(FILE *out, const struct timeline *timeline, unsigned pid)
{
    static const char *const names[LOOKS] = {[WORKING] = "own work",
                                             [RUNNING] = "running in a call",
                                             [WAITING] = "waits for results",
                                             [BLOCKED] = "waits in submit"};
    static const char *const mean[LOOKS] = {
        [WORKING] = "the thread works, and makes no system call",
        [RUNNING] = "the thread is in a system call, and does not sleep",
        [WAITING] = "the thread sleeps in a call that waits for results",
        [BLOCKED] = "the thread sleeps in a call that hands requests over"};

    trace_name(out, "process_name", pid, 0, timeline->title);
    trace_name(out, "thread_name", pid, 0, "main");
    for (unsigned i = 0; i < timeline->calls; i++) {
        enum look look = look_of(&timeline->main[i]);
        trace_bar(out, &timeline->main[i], pid, 0, names[look], mean[look]);
    }
    for (unsigned i = 0; i < timeline->blocks; i++) {
        char name[32];

        snprintf(name, sizeof(name), "block %u", i);
        trace_name(out, "thread_name", pid, i + 1, name);
        trace_bar(out, &timeline->block[i], pid, i + 1, name,
                  "from when the request is handed over to when the whole "
                  "block is there");
    }
}

void timeline_trace(const char *path, struct timeline *const *timelines)
{
    if (!path)
        return;
    args_flush();
    FILE *out = save_begin(path);
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", out);
    for (unsigned pass = 0; timelines[pass]; pass++)
        trace_pass(out, timelines[pass], pass + 1);
    /* JSON allows no comma behind the last event; this is a last one without.
     */
    fputs("{\"ph\":\"M\",\"name\":\"process_labels\",\"pid\":1,\"tid\":0,"
          "\"args\":{\"labels\":\"In Circles\"}}]}\n",
          out);
    save_commit(out);
}
