#include "step.h"

#include "terminal.h"

#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A frame, its prompt included, fits 24 lines of 80 columns. */
enum { SQ_ROWS = 4, CQ_ROWS = 8, WIDTH = 80 };

/* The four counters, at one moment. */
struct counters {
    unsigned sq_head, sq_tail, cq_head, cq_tail;
};

/* The frames so far. They are drawn when they happen, and shown later: whoever reads
   one must not hold up the next. */
static struct {
    const char *title;
    char **frame;
    unsigned frames;
    struct counters counters; /* As the last frame shows them. */
} film;

/* What draws the frame at hand writes here. */
static FILE *out;

static struct counters counters_of(const struct ring *ring)
{
    return (struct counters){
        atomic_load_explicit(ring->sq_head, memory_order_acquire),
        atomic_load_explicit(ring->sq_tail, memory_order_relaxed),
        atomic_load_explicit(ring->cq_head, memory_order_relaxed),
        atomic_load_explicit(ring->cq_tail, memory_order_acquire),
    };
}

void step_check(const struct program *program, const struct ring *ring)
{
    if (ring->sq_entries > STEP_MAX_ENTRIES)
        args_wrong(program, "--step: a frame has room for %d entries, not %u",
                   STEP_MAX_ENTRIES, ring->sq_entries);
}

void step_begin(const struct ring *ring, const char *title)
{
    film.title = title;
    film.counters = counters_of(ring);
}

/* --- Drawing ------------------------------------------------------------- */

static const char *opcode(unsigned char opcode)
{
    switch (opcode) {
    case IORING_OP_NOP:
        return "nop";
    case IORING_OP_READ:
        return "read";
    default:
        return "opcode ?";
    }
}

/* What lies in a slot, in a column so many characters wide. It stays there after it
   was taken, until somebody overwrites it. */
static void sqe_text(const struct ring *ring, unsigned slot, bool queued,
                     int width, char *text, size_t size)
{
    /* The index array is read when the kernel takes the entry. */
    unsigned index = queued ? ring->sq_array[slot] : slot;
    const struct io_uring_sqe *sqe = &ring->sqes[index];
    int n = snprintf(text, size, "user_data %llu: %s",
                     (unsigned long long)sqe->user_data, opcode(sqe->opcode));

    if (sqe->len > 0 && width < WIDTH)
        snprintf(text + n, size - (size_t)n, " %u", sqe->len);
    else if (sqe->len > 0)
        snprintf(text + n, size - (size_t)n, " %u bytes at %llu", sqe->len,
                 (unsigned long long)sqe->off);
}

static void cqe_text(const struct ring *ring, unsigned slot, char *text,
                     size_t size)
{
    const struct io_uring_cqe *cqe = &ring->cqes[slot];

    snprintf(text, size, "user_data %llu: res %d",
             (unsigned long long)cqe->user_data, cqe->res);
}

/* Was this slot ever filled? The kernel hands out zeros. */
static bool used(const struct ring *ring, bool cq, unsigned slot, unsigned head)
{
    if (cq)
        return ring->cqes[slot].user_data || ring->cqes[slot].res ||
               head > slot;
    return ring->sqes[slot].user_data || ring->sqes[slot].len || head > slot;
}

/* One slot: "head 3 [what is queued]", "     4  what was, or will be". */
static void draw_slot(const struct ring *ring, bool cq, unsigned slot,
                      unsigned head, unsigned tail, int width)
{
    unsigned mask = cq ? ring->cq_mask : ring->sq_mask;
    bool queued = ((slot - head) & mask) < tail - head;
    bool at_head = slot == (head & mask), at_tail = slot == (tail & mask);
    bool color = queued && terminal_in_color();
    char text[WIDTH] = "", line[WIDTH + 2];

    if (cq && (queued || used(ring, cq, slot, head)))
        cqe_text(ring, slot, text, sizeof(text));
    else if (queued || used(ring, cq, slot, head))
        sqe_text(ring, slot, queued, width, text, sizeof(text));
    snprintf(line, sizeof(line), "%9s %2u%s%s%s",
             at_head && at_tail ? "head,tail"
             : at_head          ? "head"
             : at_tail          ? "tail"
                                : "",
             slot,
             queued  ? " ["
             : *text ? "  "
                     : "",
             text, queued ? "]" : "");
    if (width < WIDTH && slot < (cq ? CQ_ROWS : SQ_ROWS)) /* The left column. */
        fprintf(out, "%s%-*s%s", color ? "\033[1m" : "", width, line,
                color ? "\033[0m" : "");
    else
        fprintf(out, "%s%s%s", color ? "\033[1m" : "", line,
                color ? "\033[0m" : "");
}

/* A queue: its counters, then its slots, in one or two columns. */
static void draw_queue(const struct ring *ring, bool cq, unsigned head,
                       unsigned tail)
{
    unsigned n = cq ? ring->cq_entries : ring->sq_entries;
    unsigned mask = cq ? ring->cq_mask : ring->sq_mask;
    unsigned most = cq ? CQ_ROWS : SQ_ROWS, rows = n < most ? n : most;

    fprintf(out, "%s  head %u & %u = slot %u, tail %u & %u = slot %u: %u %s\n",
            cq ? "CQ" : "SQ", head, mask, head & mask, tail, mask, tail & mask,
            tail - head, cq ? "for us to reap" : "for the kernel to take");
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned slot = row; slot < n; slot += rows)
            draw_slot(ring, cq, slot, head, tail, n > most ? WIDTH / 2 : WIDTH);
        fputc('\n', out);
    }
}

/* "the SQ tail 0 -> 4", for each of the two counters that `who` writes. */
static void say_moves(const char *who, const char *const name[2],
                      const unsigned from[2], const unsigned to[2])
{
    const char *before = "moved ";

    fprintf(out, "%s ", who);
    for (unsigned i = 0; i < 2; i++) {
        if (from[i] == to[i])
            continue;
        fprintf(out, "%sthe %s from %u to %u", before, name[i], from[i], to[i]);
        before = " and ";
    }
    fprintf(out, "%s.\n", *before == 'm' ? "moved no counter" : "");
}

static void draw(const struct ring *ring, const char *what, struct counters now)
{
    const struct counters *old = &film.counters;

    fprintf(out, "Step %u, %s: %s.\n\n", film.frames + 1, film.title, what);
    draw_queue(ring, false, now.sq_head, now.sq_tail);
    fputc('\n', out);
    draw_queue(ring, true, now.cq_head, now.cq_tail);
    fputc('\n', out);
    say_moves("We", (const char *[]){"SQ tail", "CQ head"},
              (unsigned[]){old->sq_tail, old->cq_head},
              (unsigned[]){now.sq_tail, now.cq_head});
    say_moves("The kernel", (const char *[]){"SQ head", "CQ tail"},
              (unsigned[]){old->sq_head, old->cq_tail},
              (unsigned[]){now.sq_head, now.cq_tail});
}

void step_show(void *context, const char *what, bool store)
{
    const struct ring *ring = context;
    struct counters now = counters_of(ring);
    size_t size;

    if (store && now.sq_tail == film.counters.sq_tail &&
        now.cq_head == film.counters.cq_head)
        return;
    film.frame = realloc(film.frame, (film.frames + 1) * sizeof(*film.frame));
    out = film.frame ? open_memstream(&film.frame[film.frames], &size) : NULL;
    if (!out)
        err(1, "allocating a frame");
    draw(ring, what, now);
    if (fclose(out))
        err(1, "allocating a frame");
    film.counters = now;
    film.frames++;
}

/* --- Showing --------------------------------------------------------------- */

/* Which frame does the reader want to see after this one? With `one_by_one` false, no
   more questions. */
static unsigned ask(unsigned frame, bool *one_by_one)
{
    char line[80];
    unsigned step;

    fputs("Enter: the next step   5 and Enter: step 5   q and Enter: the rest ",
          stdout);
    args_flush();
    *one_by_one = fgets(line, sizeof(line), stdin) && *line != 'q';
    if (*one_by_one && sscanf(line, "%u", &step) == 1 && step > 0 &&
        step <= film.frames)
        return step - 1;
    return frame + 1;
}

void step_play(void)
{
    bool one_by_one = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

    for (unsigned i = 0; i < film.frames;) {
        fputs(one_by_one ? "\033[H\033[2J" : "\f\n", stdout);
        fputs(film.frame[i], stdout);
        i = one_by_one && i + 1 < film.frames ? ask(i, &one_by_one) : i + 1;
    }
    putchar('\n');
    for (unsigned i = 0; i < film.frames; i++)
        free(film.frame[i]);
    free(film.frame);
    film.frame = NULL;
    film.frames = 0;
}
