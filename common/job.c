#include "job.h"

#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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

static unsigned entries = 8;

const struct program_option job_ring_options[] = {
    OPTION_NUMBER("entries", "slots in the submission queue", &entries, 1,
                  4096),
    OPTION_END};

unsigned job_ring_entries(void)
{
    return entries;
}

struct ring *job_ring(struct job *job)
{
    if (ring_open(&job->ring, entries))
        refused(URING_SETUP, errno);
    ready_enter(job->ring.fd);
    ready_to_read(job->ring.features);
    job->has_ring = true;
    return &job->ring;
}

void job_pass(struct job *job, const char *title, read_all_fn *read_all,
              void *context)
{
    if (job->passes == JOB_MAX_PASSES)
        errx(1, "more than %d passes", JOB_MAX_PASSES);

    struct pass *pass = &job->pass[job->passes++];

    pass->timeline = timeline_new(title, job->blocks.count);
    blocks_drop(&job->blocks);
    if (job->passes == 1)
        blocks_announce(&job->blocks);
    pass->cached = blocks_resident(&job->blocks);
    blocks_clear(&job->blocks);
    timeline_start(pass->timeline);
    read_all(&job->blocks, pass->timeline, context);
    timeline_stop(pass->timeline);
    timeline_threads(pass->timeline);
    pass->checksum = blocks_checksum(&job->blocks);
}

void job_show(struct job *job)
{
    const struct timeline *scale = NULL;

    job->shown = true;
    for (unsigned i = 0; i < job->passes; i++)
        if (!scale || job->pass[i].timeline->total > scale->total)
            scale = job->pass[i].timeline;
    for (unsigned i = 0; i < job->passes; i++) {
        const struct pass *pass = &job->pass[i];

        if (i > 0)
            putchar('\n');
        timeline_draw(pass->timeline, scale);
        /* The first line of all said it of the first pass. */
        if (pass->cached > job->pass[0].cached)
            printf("pages cached before: %ld\n", pass->cached);
        timeline_facts(pass->timeline, pass->checksum);
    }
}

int job_close(struct job *job)
{
    struct timeline *timelines[JOB_MAX_PASSES + 1] = {NULL};

    if (!job->shown)
        job_show(job);
    for (unsigned i = 0; i < job->passes; i++)
        timelines[i] = job->pass[i].timeline;
    timeline_trace(job->args.trace, timelines);
    for (unsigned i = 0; i < job->passes; i++)
        timeline_free(timelines[i]);
    if (job->has_ring)
        ring_close(&job->ring);
    blocks_close(&job->blocks);
    free(job);
    return 0;
}
