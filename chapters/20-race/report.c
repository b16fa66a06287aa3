/*
 * 20 · The race: tables.
 */
#include "report.h"

#include "cost.h"
#include "terminal.h"

#include <string.h>

static const char *const modes[] = {"cold", "warm", "direct"};

/* cost_median() sorts, and rounds must stay in their order. */
static double median_of(const double *values, unsigned count)
{
    double copy[MAX_ROUNDS];

    memcpy(copy, values, count * sizeof(*copy));
    return cost_median(copy, count);
}

double report_median(const struct report *report, const struct entry *entry,
                     enum measure measure)
{
    return median_of(entry->value[measure], report->rounds);
}

double report_fio_median(const struct report *report, const struct entry *entry)
{
    return median_of(entry->fio, report->rounds);
}

/* From the smallest to the largest, in percent of the median. */
static double spread(const double *values, unsigned count)
{
    double min = values[0], max = values[0];

    for (unsigned i = 1; i < count; i++) {
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
    }
    return 100 * (max - min) / median_of(values, count);
}

static void bar(double share)
{
    const char *full = terminal_in_utf8() ? "█" : "=";
    unsigned width = (unsigned)(share * 24 + 0.5);

    for (unsigned i = 0; i < 24; i++)
        fputs(i < width ? full : " ", stdout);
}

/* The name, or the whole line where it has not run. */
static bool begin_row(const struct entry *entry)
{
    printf("%-16s", entry->name);
    if (*entry->why)
        printf(" did not run: %s\n", entry->why);
    return !*entry->why;
}

static double best_rate(const struct report *report)
{
    double best = 0;

    for (unsigned i = 0; i < report->engines; i++) {
        const struct entry *entry = &report->entries[i];
        double rate = *entry->why ? 0 : report_median(report, entry, RATE);
        best = rate > best ? rate : best;
    }
    return best;
}

static void rates(const struct report *report)
{
    double best = best_rate(report);

    printf("%-16s%10s%8s%26s%9s%11s\n", "", "reads/s", "spread", "", "MiB/s",
           "in flight");
    for (unsigned i = 0; i < report->engines; i++) {
        const struct entry *entry = &report->entries[i];
        if (!begin_row(entry))
            continue;
        double rate = report_median(report, entry, RATE);
        printf("%10.0f%6.0f %%  ", rate,
               spread(entry->value[RATE], report->rounds));
        bar(rate / best);
        printf("%9.1f%11u\n", rate * report->course->size / (1 << 20),
               entry->in_flight[report->rounds - 1]);
    }
}

static void costs(const struct report *report)
{
    printf("\n%-16s%10s%10s%10s%14s%14s\n", "", "p50 us", "p99 us", "p99.9 us",
           "calls/read", "CPU us/read");
    for (unsigned i = 0; i < report->engines; i++) {
        const struct entry *entry = &report->entries[i];
        if (*entry->why)
            continue;
        begin_row(entry);
        for (enum measure m = P50; m <= P999; m++)
            printf("%10.1f", report_median(report, entry, m));
        printf("%14.3f%14.2f\n", report_median(report, entry, CALLS),
               report_median(report, entry, CPU));
    }
}

static const struct entry *first_that_ran(const struct report *report)
{
    for (unsigned i = 0; i < report->engines; i++)
        if (!*report->entries[i].why)
            return &report->entries[i];
    return NULL;
}

static void relative(const struct report *report)
{
    const struct entry *base = first_that_ran(report);

    if (!base)
        return;
    printf("\nrelative to %-4s%10s%10s%10s%10s%10s%10s\n", base->name,
           "reads/s", "p50", "p99", "p99.9", "calls", "CPU");
    for (unsigned i = 0; i < report->engines; i++) {
        const struct entry *entry = &report->entries[i];
        if (*entry->why)
            continue;
        begin_row(entry);
        for (enum measure m = RATE; m < MEASURES; m++) {
            double unit = report_median(report, base, m);
            if (unit > 0)
                printf("%10.2f", report_median(report, entry, m) / unit);
            else
                printf("%10s", "-");
        }
        putchar('\n');
    }
}

void report_tables(const struct report *report)
{
    rates(report);
    costs(report);
    relative(report);
}

/* Ours to fio's, round by round. */
static double ratio(const struct report *report, const struct entry *entry,
                    double *off)
{
    double ratios[MAX_ROUNDS] = {0};

    for (unsigned round = 0; round < report->rounds; round++)
        ratios[round] = entry->value[RATE][round] / entry->fio[round];
    *off = spread(ratios, report->rounds);
    return median_of(ratios, report->rounds);
}

void report_fio(const struct report *report)
{
    double off;

    printf("\n%-16s%16s%14s%14s%12s%8s\n", "beside fio", "fio's name",
           "reads/s", "fio reads/s", "ours / fio", "spread");
    for (unsigned i = 0; i < report->engines; i++) {
        const struct entry *entry = &report->entries[i];
        if (*entry->why || !entry->fio_name)
            continue;
        double median = ratio(report, entry, &off);
        printf("%-16s%16s%14.0f%14.0f%12.2f%6.0f %%\n", entry->name,
               entry->fio_name, report_median(report, entry, RATE),
               report_fio_median(report, entry), median, off);
    }
}

/* A cell of a table of the sweep. */
static void cell(const struct report *report, const struct entry *entry,
                 enum measure measure)
{
    double off;

    if (*entry->why || (measure == MEASURES && !entry->fio_name))
        printf("%8s", "-");
    else if (measure == MEASURES)
        printf("%8.2f", ratio(report, entry, &off));
    else
        printf("%8.0f", report_median(report, entry, measure));
}

/* One measure of all engines, a column for each depth. MEASURES is the ratio to
   fio. */
static void sweep_table(const struct report *report, const char *title,
                        enum measure measure)
{
    printf("%-16s", title);
    for (unsigned d = 0; d < report->depths; d++)
        printf("%8u", report->entries[d * report->engines].depth);
    putchar('\n');
    for (unsigned i = 0; i < report->engines; i++) {
        printf("%-16s", report->entries[i].name);
        for (unsigned d = 0; d < report->depths; d++)
            cell(report, &report->entries[d * report->engines + i], measure);
        putchar('\n');
    }
}

void report_sweep(const struct report *report, bool fio)
{
    sweep_table(report, "reads/s, depth", RATE);
    putchar('\n');
    sweep_table(report, "p99 us, depth", P99);
    if (fio) {
        putchar('\n');
        sweep_table(report, "ours/fio, depth", MEASURES);
    }
    for (unsigned i = 0; i < report->engines * report->depths; i++) {
        const struct entry *entry = &report->entries[i];
        bool first = i < report->engines || !*entry[-(int)report->engines].why;
        if (*entry->why && first)
            printf("\n%s did not run, %u in flight: %s\n", entry->name,
                   entry->depth, entry->why);
    }
}

void report_csv(const struct report *report)
{
    puts("mode,size,depth,engine,round,reads,seconds,reads_per_s,p50_us,p99_us,"
         "p999_us,calls_per_read,cpu_us_per_read,in_flight,fio_reads_per_s");
    for (unsigned i = 0; i < report->engines * report->depths; i++) {
        const struct entry *entry = &report->entries[i];
        for (unsigned round = 0; !*entry->why && round < report->rounds;
             round++) {
            printf("%s,%u,%u,%s,%u,%ju,%.6f", modes[report->course->mode],
                   report->course->size, entry->depth, entry->name, round + 1,
                   (uintmax_t)entry->reads[round], entry->seconds[round]);
            for (enum measure m = RATE; m < MEASURES; m++)
                printf(",%.4f", entry->value[m][round]);
            printf(",%u,%.0f\n", entry->in_flight[round], entry->fio[round]);
        }
    }
}
