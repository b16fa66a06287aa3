/*
 * 11 · A ring without the kernel
 *
 * The queue that io_uring is made of, between two threads of our own: an array
 * and two counters. First step by step, on one thread, where each step is
 * drawn. Then one thread puts in as fast as it can and another takes out.
 *
 * Watch for: the counters pass 2^32 and start again at zero, and nothing
 * happens; the ring is full and empty with head and tail at the same slot, and
 * yet nobody mistakes one for the other.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/11-ring-buffer/ring-buffer.c common/?*.c -lz -pthread \
 *           -o 11-ring-buffer
 *
 * Needs: any Linux.
 * Manual pages: pthreads(7), sched_yield(2). None has the order of memory: that
 * is in the C17 standard, 5.1.2.4 and 7.17.3.
 */
#include "args.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LINE = 64,          /* Bytes in a cache line of most processors. */
    MAX_SLOTS = 256,    /* A power of two, as all numbers of slots. */
    ADDITIONS = 300000, /* For the price of false sharing ... */
    ROUNDS = 8          /* ... which not every round shows. */
};

/* A few steps below 2^32, so that the wrap comes at once and not in an hour. */
static const uint32_t start = UINT32_MAX - 2;

static unsigned items = 100000, relaxed;

static const struct program program = {
    .name = "11-ring-buffer",
    .does = "Passes items through a ring of its own, from thread to thread.",
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("items", "items to pass between threads", &items, 1,
                          100000000),
            OPTION_SWITCH("relaxed", "wrong: promise no order", &relaxed),
            OPTION_END},
};

/* --- The ring ------------------------------------------------------------ */

/* All of it. Nothing is ever allocated: an item is copied into its slot, and
   the slot is used again. What one side writes shares no cache line with what
   the other side writes, or with what nobody does. */
struct ring {
    alignas(LINE) uint32_t entries;      /* How many slots; a power of two. */
    uint32_t mask;                       /* Counter to slot: counter & mask. */
    alignas(LINE) _Atomic uint32_t head; /* Taken out; the consumer's. */
    alignas(LINE) _Atomic uint32_t tail; /* Put in; the producer's. */
    alignas(LINE) uint32_t slot[MAX_SLOTS];
};

static void make_ring(struct ring *ring, uint32_t entries)
{
    ring->entries = entries;
    ring->mask = entries - 1;
    atomic_init(&ring->head, start);
    atomic_init(&ring->tail, start);
}

/* Load the other side's counter. Acquire: what this thread does below this line
   comes after the load, and so after all that the other side had done before
   the release that stored this value. */
static uint32_t look(const _Atomic uint32_t *counter)
{
    /* Two branches, since the order has to be a constant. Of a variable, gcc
       makes the strongest order there is, whatever its value. */
    if (relaxed)
        return atomic_load_explicit(counter, memory_order_relaxed);
    return atomic_load_explicit(counter, memory_order_acquire);
}

/* Store our own counter. Release: all that this thread did above this line is
   done before the other side can see the new value. */
static void publish(_Atomic uint32_t *counter, uint32_t value)
{
    if (relaxed)
        atomic_store_explicit(counter, value, memory_order_relaxed);
    else
        atomic_store_explicit(counter, value, memory_order_release);
}

/* For the producer alone. False: full. */
static bool push(struct ring *ring, uint32_t item)
{
    /* Nobody but us stores the tail: no order is needed to read it back. */
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint32_t head = look(&ring->head);

    if (tail - head == ring->entries)
        return false;
    ring->slot[tail & ring->mask] = item;
    publish(&ring->tail, tail + 1);
    return true;
}

/* For the consumer alone. False: empty. */
static bool pop(struct ring *ring, uint32_t *item)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint32_t tail = look(&ring->tail);

    if (tail == head)
        return false;
    *item = ring->slot[head & ring->mask];
    publish(&ring->head, head + 1);
    return true;
}

/* --- Step by step -------------------------------------------------------- */

static void print_ring(const struct ring *ring, const char *step,
                       const char *note)
{
    uint32_t head = atomic_load(&ring->head), tail = atomic_load(&ring->tail);
    uint32_t used = tail - head;

    printf("%-7s %10u %5u %11u %5u %5u %5u   |", step, tail, tail & ring->mask,
           head, head & ring->mask, used, ring->entries - used);
    for (uint32_t i = 0; i < ring->entries; i++) {
        bool in_use = ((i - head) & ring->mask) < used;
        printf("%c%c%c|", i == (head & ring->mask) ? 'h' : ' ',
               in_use ? (char)ring->slot[i] : ' ',
               i == (tail & ring->mask) ? 't' : ' ');
    }
    printf("%s\n", note);
}

/* Four items fill it, the fifth has to wait; then it is emptied. */
static void step_by_step(struct ring *ring)
{
    uint32_t next = 'A';
    char step[16];

    make_ring(ring, 4);
    printf("%u slots, mask %u; tail and head start at %u, 3 below 2^32\n\n"
           "%-7s %10s %5s %11s %5s %5s %5s     0   1   2   3\n",
           ring->entries, ring->mask, start, "", "tail", "index", "head",
           "index", "used", "free");
    print_ring(ring, "start", "");
    for (const char *s = "+++++--+----"; *s; s++) {
        uint32_t item = next;
        bool done = *s == '+' ? push(ring, item) : pop(ring, &item);
        if (*s == '+')
            next += done;
        snprintf(step, sizeof(step), "%s %c", *s == '+' ? "push" : "pop ",
                 *s == '+' || done ? (char)item : ' ');
        print_ring(ring, step, done ? "" : *s == '+' ? " full" : " empty");
    }
}

/* --- Two threads --------------------------------------------------------- */

/* The pthread functions return the error and leave errno alone. */
static void must(int error, const char *doing)
{
    if (error)
        errx(1, "%s: %s%s", doing, strerror(error), why_no_thread(error));
}

/* The other side has not moved. On another processor it soon will, so look
   again. But it may be waiting for this very processor, and then to spin would
   only keep it away: give the processor up now and then. (A real program would
   sleep: on an eventfd as in chapter 05, or in io_uring_enter(2).) */
static void wait_a_bit(unsigned *looks)
{
    if (++*looks % 64 == 0)
        sched_yield(); /* On Linux it can't fail, says its manual page. */
}

/* What the consumer has seen, for main() to read once it has joined. */
struct taken {
    struct ring *ring;
    uint32_t in_order; /* How many came in their turn. */
};

static void *consume(void *argument)
{
    struct taken *taken = argument;
    unsigned looks = 0;

    for (uint32_t turn = 1; turn <= items; turn++) {
        uint32_t item;
        while (!pop(taken->ring, &item))
            wait_a_bit(&looks);
        taken->in_order += item == turn;
    }
    return NULL;
}

static void two_threads(struct ring *ring)
{
    struct taken taken = {.ring = ring};
    unsigned looks = 0;
    pthread_t consumer;

    make_ring(ring, MAX_SLOTS);
    must(pthread_create(&consumer, NULL, consume, &taken),
         "starting the consumer");
    for (uint32_t item = 1; item <= items; item++)
        while (!push(ring, item))
            wait_a_bit(&looks);
    must(pthread_join(consumer, NULL), "waiting for the consumer's end");

    printf("\ntwo threads, %u slots, %s\n", ring->entries,
           relaxed ? "relaxed order" : "acquire and release");
    printf("items in order: %u of %u\n", taken.in_order, items);
    printf("tail and head at the end: %u and %u\n", atomic_load(&ring->tail),
           atomic_load(&ring->head));
    if (taken.in_order != items)
        errx(1, "passing %u items: not all came as they went", items);
}

/* --- The price of false sharing ------------------------------------------ */

static void *add(void *argument)
{
    _Atomic uint32_t *counter = argument;

    /* The ring's counters need no atomic addition, having one writer each. Here
       it is used because it can't be done without the line; plain stores would
       gather in the processor for a while, and hide the price. */
    for (unsigned i = 0; i < ADDITIONS; i++)
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    return NULL;
}

/* Milliseconds that this process has had a processor, all threads together. */
static double processor_time(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t))
        err(1, "reading the clock of processor time");
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Two threads, each with a counter of its own: how much processor time do they
   take? The most of a few rounds, since those in which they did not run at the
   same time show no price at all. */
static double add_both(_Atomic uint32_t *ours, _Atomic uint32_t *theirs)
{
    double max = 0;

    for (int i = 0; i < ROUNDS; i++) {
        pthread_t other;
        double begin = processor_time();
        must(pthread_create(&other, NULL, add, theirs), "starting a thread");
        add(ours);
        must(pthread_join(other, NULL), "waiting for a thread's end");
        double took = processor_time() - begin;
        max = took > max ? took : max;
    }
    return max;
}

static void false_sharing(void)
{
    static alignas(LINE) _Atomic uint32_t counters[2 * LINE / sizeof(uint32_t)];
    double same = add_both(&counters[0], &counters[1]);
    double apart = add_both(&counters[0], &counters[LINE / sizeof(uint32_t)]);

    printf("\nin the ring: head at byte %zu, tail at %zu, slots at %zu\n",
           offsetof(struct ring, head), offsetof(struct ring, tail),
           offsetof(struct ring, slot));
    printf("two threads, each with a counter of its own to add to\n"
           "both in one cache line: %.1f ms of processor time\n"
           "each in a line of its own: %.1f ms, %.0f%% of that\n",
           same, apart, 100 * apart / same);
}

int main(int argc, char **argv)
{
    static struct ring ring;

    args_parse(argc, argv, &program);
    step_by_step(&ring);
    two_threads(&ring);
    false_sharing();
    return 0;
}
