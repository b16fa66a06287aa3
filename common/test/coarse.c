/*
 * coarse: a clock that moves once a second, and a kernel that counts no sleeps.
 *
 *     LD_PRELOAD=build/libcoarse.so build/bin/01-blocking-read
 *
 * Two moments a thousandth of a second apart are then the same moment, as on
 * machines whose clock stands still for milliseconds. What a program prints may
 * then say 0, or that it can't tell; but it has the same lines.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);

    if (clock == CLOCK_MONOTONIC)
        time->tv_nsec = 0;
    return result;
}

/* glibc declares the first parameter as an enum, in GNU C. */
int getrusage(__rusage_who_t who, struct rusage *usage)
{
    int result = (int)syscall(SYS_getrusage, who, usage);

    usage->ru_nvcsw = 0;
    return result;
}
