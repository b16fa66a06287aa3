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

double cost_wall(void)
{
    return seconds(CLOCK_MONOTONIC);
}

/* The clock of a thread by its number: part of the kernel's interface, in
   include/linux/posix-timers_types.h; pthread_getcpuclockid(3) makes the same,
   but only of threads that libc knows. */
static clockid_t clock_of(int thread)
{
    const int per_thread = 4, what_the_scheduler_counts = 2;

    return ~thread * 8 + (per_thread | what_the_scheduler_counts);
}

double cost_processors(unsigned *threads)
{
    DIR *tasks = opendir("/proc/self/task");
    double sum = 0;

    *threads = 1;
    if (!tasks && errno == ENOENT)
        return seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (!tasks)
        err(1, "opening /proc/self/task");
    *threads = 0;
    errno = 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        struct timespec t;
        int thread = atoi(task->d_name);
        if (thread == 0) /* . and .. */
            continue;
        if (clock_gettime(clock_of(thread), &t)) {
            if (errno != EINVAL) /* It has ended meanwhile. */
                err(1, "reading the clock of thread %d", thread);
            errno = 0;
            continue;
        }
        sum += (double)t.tv_sec + (double)t.tv_nsec / 1e9;
        ++*threads;
    }
    if (errno)
        err(1, "reading /proc/self/task");
    closedir(tasks);
    return sum;
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
