#include "job.h"

#include "ready.h"
#include "step.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* What is kept of a pass until it is shown. */
struct pass {
    struct timeline *timeline;
    long cached; /* Pages of the blocks in the cache before it began. */
    uint32_t checksum;
};

struct job {
    struct program program;
    struct args args;
    struct blocks blocks;
    struct ring ring;
    struct ring_counters counters; /* Of whichever ring the passes use. */
    bool has_ring, shown;
    struct pass pass[JOB_MAX_PASSES];
    unsigned passes;
};

struct job *job_open(int argc, char **argv, const struct program *program)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        err(1, "allocating the job");
    job->program = *program;
    job->program.reads_blocks = job->program.takes_file = true;
    job->args = args_parse(argc, argv, &job->program);
    blocks_open(&job->blocks, &job->args);
    return job;
}

struct blocks *job_blocks(struct job *job)
{
    return &job->blocks;
}

struct job_options job_options = {.entries = 8};

void job_watch(struct job *job, struct ring_counters counters)
{
    job->counters = counters;
}

struct ring *job_ring(struct job *job)
{
    struct ring *ring = &job->ring;

    if (ring_open(ring, job_options.entries))
        refused(URING_SETUP, errno);
    ready_enter(ring->fd);
    ready_to_read(ring->features);
    if (job_options.step)
        step_check(&job->program, ring);
    job->has_ring = true;
    job_watch(job, (struct ring_counters){ring->sq_head, ring->cq_head,
                                          ring->cq_tail});
    return ring;
}

void job_work(struct timeline *timeline)
{
    static unsigned char page[4096];
    static volatile uLong sum; /* Else the compiler sees that nobody asks. */

    sum = crc32(sum, page, sizeof(page));
    timeline_worked(timeline);
}

static void read_once(const struct blocks *blocks, unsigned i)
{
    int64_t res = blocks_read(blocks, i);

    if (res != (int64_t)blocks->block[i].length)
        blocks_failed(blocks, i, res);
}

/* What costs more the first time than later is done once before the first pass:
   passes that are compared are not to differ by that. The kernel's first copy into
   fresh memory is such a thing. The first use of the checksum's tables, and of the
   timeline, is another. */
static void rehearse(const struct blocks *blocks)
{
    struct timeline *timeline = timeline_new("rehearsal", blocks->count);

    for (unsigned i = 0; i < blocks->count; i++)
        read_once(blocks, i);
    timeline_start(timeline);
    timeline_call(timeline, OWN_WORK);
    job_work(timeline);
    timeline_return(timeline);
    timeline_stop(timeline);
    timeline_free(timeline);
}

/* The blocks are cold, but for the last ones that --warm names. */
static void prepare(const struct job *job)
{
    const struct blocks *blocks = &job->blocks;
    unsigned warm = job_options.warm;

    if (job->passes == 1)
        rehearse(blocks);
    blocks_drop(blocks);
    if (job->passes == 1)
        blocks_announce(blocks);
    if (job->passes == 1 && warm > 0)
        printf("before each pass the last %u come back into the cache\n\n",
               warm < blocks->count ? warm : blocks->count);
    for (unsigned i = blocks->count; i > 0 && warm > 0; warm--)
        read_once(blocks, --i);
    blocks_clear(blocks);
}

void job_pass(struct job *job, const char *title, read_all_fn *read_all,
              void *context)
{
    if (job->passes == JOB_MAX_PASSES)
        errx(1, "more than %d passes", JOB_MAX_PASSES);

    struct pass *pass = &job->pass[job->passes++];

    pass->timeline = timeline_new(title, job->blocks.count);
    if (job->program.facts)
        pass->timeline->facts = job->program.facts;
    prepare(job);
    pass->cached = blocks_resident(&job->blocks);
    if (job_options.step) {
        step_begin(&job->ring, title);
        pass->timeline->step = step_show;
        pass->timeline->step_context = &job->ring;
    }
    timeline_start(pass->timeline);
    if (job->counters.cq_tail)
        timeline_watch(pass->timeline, job->counters);
    read_all(&job->blocks, pass->timeline, context);
    timeline_stop(pass->timeline);
    timeline_threads(pass->timeline);
    pass->checksum = blocks_checksum(&job->blocks);
}

static void show_facts(const struct job *job, const struct pass *pass)
{
    /* The first line of all said it of the first pass. */
    if (pass->cached > job->pass[0].cached)
        printf("pages cached before: %ld\n", pass->cached);
    timeline_facts(pass->timeline, pass->checksum);
}

/* Each pass with all its lanes and its facts. */
static void show_lanes(const struct job *job)
{
    const struct timeline *scale = NULL;

    for (unsigned i = 0; i < job->passes; i++)
        if (!scale || job->pass[i].timeline->total > scale->total)
            scale = job->pass[i].timeline;
    for (unsigned i = 0; i < job->passes; i++) {
        const struct pass *pass = &job->pass[i];

        if (i > 0)
            putchar('\n');
        timeline_draw(pass->timeline, scale);
        show_facts(job, pass);
    }
}

/* All the passes, NULL behind the last. */
static void timelines_of(const struct job *job, struct timeline **timelines)
{
    for (unsigned i = 0; i < job->passes; i++)
        timelines[i] = job->pass[i].timeline;
    timelines[job->passes] = NULL;
}

/* The main lanes of all passes, then the facts of each. */
static void show_main(const struct job *job)
{
    struct timeline *timelines[JOB_MAX_PASSES + 1];

    timelines_of(job, timelines);
    timeline_draw_main(timelines);
    for (unsigned i = 0; i < job->passes; i++) {
        const struct pass *pass = &job->pass[i];

        printf("%s%s\n", i > 0 ? "\n" : "", pass->timeline->title);
        show_facts(job, pass);
    }
}

void job_show(struct job *job)
{
    job->shown = true;
    if (job_options.step) {
        step_play();
        for (unsigned i = 0; i < job->passes; i++)
            printf("%s: checksum: %08x\n", job->pass[i].timeline->title,
                   (unsigned)job->pass[i].checksum);
    } else if (job->program.main_lanes && !job_options.lanes) {
        show_main(job);
    } else {
        show_lanes(job);
    }
}

int job_close(struct job *job)
{
    struct timeline *timelines[JOB_MAX_PASSES + 1];

    if (!job->shown)
        job_show(job);
    timelines_of(job, timelines);
    timeline_trace(job->args.trace, timelines);
    for (unsigned i = 0; i < job->passes; i++)
        timeline_free(timelines[i]);
    if (job->has_ring)
        ring_close(&job->ring);
    blocks_close(&job->blocks);
    free(job);
    return 0;
}
