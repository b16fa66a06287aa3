/*
 * 20 · The race: pictures, drawn by gnuplot.
 */
#include "report.h"

#include "save.h"
#include "scratch.h"
#include "tool.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the page around it is dark, ink and paper change places. The colors of
   the lines can be seen on both. */
static const char style[] = "<style>\n"
                            "@media (prefers-color-scheme: dark) {\n"
                            "  text { fill: #e6edf3; }\n"
                            "  rect[fill='#ffffff'] { fill: #0d1117; }\n"
                            "  [stroke='black'] { stroke: #9aa4af; }\n"
                            "}\n"
                            "</style>\n";

static const char *const colors[] = {"#8c959f", "#bf8700", "#1a7f37",
                                     "#2da44e", "#cf222e", "#0969da",
                                     "#54aeff", "#8250df", "#bf3989"};

static const char *color(unsigned i)
{
    return colors[i % (sizeof(colors) / sizeof(*colors))];
}

/* The best of fio's medians at this depth: what the device can do. */
static double fio_best(const struct report *report, const struct entry *entry)
{
    double best = 0;

    for (unsigned i = 0; i < report->engines; i++) {
        double rate = report_fio_median(report, &entry[i]);
        best = rate > best ? rate : best;
    }
    return best;
}

/* A line for each engine, against depth. */
static void lines(FILE *out, const struct report *report, enum measure measure)
{
    const char *between = "plot ";
    bool fio = measure == RATE && fio_best(report, report->entries) > 0;

    for (unsigned i = 0; i < report->engines; i++) {
        fprintf(out, "$d%u << END\n", i);
        for (unsigned d = 0; d < report->depths; d++) {
            const struct entry *e = &report->entries[d * report->engines + i];
            if (!*e->why)
                fprintf(out, "%u %f\n", e->depth,
                        report_median(report, e, measure));
        }
        fputs("END\n", out);
    }
    fputs("$fio << END\n", out);
    for (unsigned d = 0; d < report->depths; d++) {
        const struct entry *e = &report->entries[d * report->engines];
        fprintf(out, "%u %f\n", e->depth, fio_best(report, e));
    }
    fputs("END\n", out);

    for (unsigned i = 0; i < report->engines; i++) {
        if (*report->entries[i].why)
            continue;
        fprintf(out, "%s$d%u title '%s' with linespoints lw 2 pt %u lc '%s'",
                between, i, report->entries[i].name, i + 4, color(i));
        between = ", ";
    }
    if (fio)
        fprintf(out, ", $fio title 'best of fio' with lines dt 2 lw 2 lc '%s'",
                color(0));
    fputc('\n', out);
}

/* A bar for each engine. */
static void bars(FILE *out, const struct report *report, enum measure measure)
{
    fputs("$d << END\n", out);
    for (unsigned i = 0; i < report->engines; i++) {
        const struct entry *e = &report->entries[i];
        if (!*e->why)
            fprintf(out, "\"%s\" %f %d\n", e->name,
                    report_median(report, e, measure),
                    (int)strtol(color(i) + 1, NULL, 16));
    }
    fputs("END\n"
          "plot $d using 0:2:3:xtic(1) notitle with boxes lc rgb variable\n",
          out);
}

static void script(FILE *out, const struct report *report)
{
    const char *modes[] = {"cold", "warm", "O_DIRECT"};

    fprintf(out,
            "set terminal svg size 720,%u noenhanced font 'sans-serif,13' "
            "background '#ffffff'\n"
            "set multiplot layout 2,1\nset border 3\nset grid y\n"
            "set tics nomirror out\nset format y '%%.0f'\n",
            report->depths > 1 ? 900 : 640);
    if (report->depths > 1)
        fputs("set logscale x 2\nset logscale y\nset xlabel 'in flight'\n"
              "set key outside right\n",
              out);
    else
        fputs("set style fill solid\nset boxwidth 0.7\nset yrange [0:*]\n"
              "set xtics rotate by -30\n",
              out);
    for (unsigned i = 0; i < 2; i++) {
        fprintf(out, "set title '%s, %u bytes a read, %s'\n",
                i == 0 ? "reads per second" : "latency, 99th percentile, us",
                report->course->size, modes[report->course->mode]);
        (report->depths > 1 ? lines : bars)(out, report, i == 0 ? RATE : P99);
    }
    fputs("unset multiplot\n", out);
}

void report_plot(const struct report *report, const char *path)
{
    FILE *in = fdopen(scratch_open(0), "w");

    if (!in)
        err(1, "opening a scratch file");
    script(in, report);
    if (fflush(in) || ferror(in) || lseek(fileno(in), 0, SEEK_SET))
        err(1, "writing a scratch file");
    char *svg = tool_run((const char *[]){"gnuplot", NULL}, fileno(in));
    char *drawing = strstr(svg, "<g id=\"gnuplot_canvas\"");
    if (!drawing)
        errx(1, "gnuplot has drawn nothing");

    FILE *file = save_begin(path);
    fprintf(file, "%.*s%s%s", (int)(drawing - svg), svg, style, drawing);
    save_commit(file);
    free(svg);
    if (fclose(in))
        err(1, "closing a scratch file");
}
