/*
 * 03 · Advice
 *
 * The program has two things to do: read eight blocks with pread(2), and compute
 * 1000 checksums of its own. It does both three times. "plain": it computes, then
 * reads. "in turn": it tells the kernel of all eight blocks, reads them right after
 * that, and then computes. "together": it tells the kernel, computes, and reads
 * after that.
 *
 * Watch for: how often the thread sleeps in each of the three. The reads are the
 * same, and so is the work. Only their order differs, and who knows of the reads.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/03-fadvise/fadvise.c \
 *           common/?*.c -lz -o 03-fadvise
 *
 * Needs: Linux 2.6.26, to count the sleeps of one thread.
 * Manual pages: posix_fadvise(2), readahead(2), getrusage(2).
 */
#include "job.h"
#include "ready.h"

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

static unsigned pieces = 1000;

static const struct program program = {
    .name = "03-fadvise",
    .does = "Reads blocks of a file, with and without posix_fadvise(2).",
    .ready = ready_advice,
    .main_lanes = true,
    .facts = FACT_WORK | FACT_SLEEPS | FACT_SLEEPS_IN_SUBMIT,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("work", "pieces of own work, 4 KiB summed in each",
                          &pieces, 0, 1000000),
            JOB_WARM, OPTION_END},
};

/* --- The advice ------------------------------------------------------------ */

/* Tell the kernel that we will need a block. It makes room in the page cache,
   sends a request to the disk, and returns. When the disk is done, the pages are
   in the cache, and nobody tells us.

   The result is the error itself. posix_fadvise() leaves errno alone, so err()
   would print whatever went wrong before, or "Success".

   An error means that the call makes no sense: no such descriptor, no such advice,
   a pipe. If the kernel can't do what we ask, or does not want to, it reports no error.
   So 0 says that the advice was heard, and not that anybody follows it.

   blocks_open() has given the advice RANDOM. That switches off the kernel's guesses.
   WILLNEED is no guess but a request, and still works. */
static void advise(const struct blocks *blocks, unsigned i)
{
    const struct block *block = &blocks->block[i];
    int error = posix_fadvise(blocks->fd, block->offset, (off_t)block->length,
                              POSIX_FADV_WILLNEED);

    if (error)
        errx(1, "giving advice on %s at byte %jd: %s", blocks->path,
             (intmax_t)block->offset, strerror(error));
}

/* All blocks, before the first read: a disk can do more than one thing at a time,
   if somebody asks.

   One call for each block, and not one for the whole file. The file is much larger
   than what we need. And the kernel follows one call only so far: 03-pages shows how
   far. Blocks after that would get no advice at all. */
static void advise_all(const struct blocks *blocks, struct timeline *timeline)
{
    for (unsigned i = 0; i < blocks->count; i++) {
        timeline_submitted(timeline, i);
        timeline_call(timeline, CALL_SUBMIT);
        advise(blocks, i);
        timeline_return(timeline);
    }
}

/* --- The reads, and the work ----------------------------------------------- */

/* Each block needs this read. Advice fills the page cache; only pread() fills our
   memory. blocks_read() is the loop around pread() of chapter 01.

   If a page is not there, pread() sleeps until it is. So advice that came late, or that
   the kernel did not follow, gains nothing and breaks nothing.

   Without advice, pread() is the call that hands the request over: CALL_SUBMIT, and the
   block is in flight from here. With advice that has happened before, and pread() waits
   for the result: CALL_WAIT. */
static void read_each(const struct blocks *blocks, struct timeline *timeline,
                      bool advised)
{
    for (unsigned i = 0; i < blocks->count; i++) {
        if (!advised)
            timeline_submitted(timeline, i);
        timeline_call(timeline, advised ? CALL_WAIT : CALL_SUBMIT);
        int64_t res = blocks_read(blocks, i);
        timeline_return(timeline);
        if (res <= 0)
            blocks_failed(blocks, i, res);
        timeline_completed(timeline, i);
    }
}

/* Stands for whatever else a program has to do. OWN_WORK is no call: it only marks the
   time. The work makes no system call either, so nothing in it could wait for the disk
   or move the reads on. */
static void work(struct timeline *timeline)
{
    timeline_call(timeline, OWN_WORK);
    for (unsigned i = 0; i < pieces; i++)
        job_work(timeline);
    timeline_return(timeline);
}

/* --- Three passes: the same reads and the same work ------------------------ */

/* The work comes before the reads here, too. It helps nobody, because the kernel
   does not know what we will read. */
static void plain(const struct blocks *blocks, struct timeline *timeline,
                  void *context)
{
    (void)context; /* job_pass() has one for programs that need it. */
    work(timeline);
    read_each(blocks, timeline, false);
}

/* The disk has all eight requests when the first read comes. That read sleeps, and
   mostly the other blocks come in that time as well. But the thread sleeps with all of
   its work still to do. */
static void in_turn(const struct blocks *blocks, struct timeline *timeline,
                    void *context)
{
    (void)context;
    advise_all(blocks, timeline);
    read_each(blocks, timeline, true);
    work(timeline);
}

/* The lesson is the order of these three lines: the work stands where "in turn" sleeps.
   Only a program that has other work to do can gain all of the waiting.

   How much work is enough? This program can't know. No call waits for advice, and no
   descriptor becomes ready. It goes on when its work is done, and hopes. */
static void together(const struct blocks *blocks, struct timeline *timeline,
                     void *context)
{
    (void)context;
    advise_all(blocks, timeline);
    work(timeline);
    read_each(blocks, timeline, true);
}

int main(int argc, char **argv)
{
    struct job *job = job_open(argc, argv, &program);

    /* job_pass() drops the blocks from the page cache before each pass. */
    job_pass(job, "plain", plain, NULL);
    job_pass(job, "in turn", in_turn, NULL);
    job_pass(job, "together", together, NULL);
    return job_close(job);
}
