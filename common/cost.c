#include "cost.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t))
        err(1, "reading a clock");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The clock of a thread by its number: part of the kernel's interface, in
   include/linux/posix-timers_types.h; pthread_getcpuclockid(3) makes the same,
   but only of threads that libc knows. */
static clockid_t clock_of(int thread)
{
    const int per_thread = 4, what_the_scheduler_counts = 2;

    return ~thread * 8 + (per_thread | what_the_scheduler_counts);
}

void cost_look(struct cost *cost)
{
    DIR *tasks = opendir("/proc/self/task");

    cost->threads = 0;
    cost->process = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (!tasks && errno == ENOENT) {
        cost->threads = 1;
        cost->thread[0].id = 0;
        cost->thread[0].seconds = cost->process;
        return;
    }
    if (!tasks)
        err(1, "opening /proc/self/task");
    errno = 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        struct timespec t;
        int id = atoi(task->d_name);
        if (id == 0) /* . and .. */
            continue;
        if (clock_gettime(clock_of(id), &t)) {
            if (errno != EINVAL) /* It has ended meanwhile. */
                err(1, "reading the clock of thread %d", id);
            errno = 0;
            continue;
        }
        if (cost->threads == MAX_COST_THREADS)
            errx(1, "reading clocks: more than %d threads", MAX_COST_THREADS);
        cost->thread[cost->threads].id = id;
        cost->thread[cost->threads].seconds =
            (double)t.tv_sec + (double)t.tv_nsec / 1e9;
        cost->threads++;
    }
    if (errno)
        err(1, "reading /proc/self/task");
    closedir(tasks);
}

double cost_between(const struct cost *before, const struct cost *after)
{
    double sum = 0, process = after->process - before->process;

    for (unsigned i = 0; i < after->threads; i++) {
        sum += after->thread[i].seconds;
        for (unsigned k = 0; k < before->threads; k++)
            if (before->thread[k].id == after->thread[i].id)
                sum -= before->thread[k].seconds;
    }
    return sum > process ? sum : process;
}

void cost_await_threads(unsigned max)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    struct cost now;

    cost_look(&now);
    for (int i = 0; i < 1000 && now.threads > max; i++) {
        nanosleep(&ms, NULL);
        cost_look(&now);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double cost_median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[count / 2];
}
