#include "trial.h"

#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* At a time: most of a life is waiting. */
#define BESIDE 40
/* A life takes a few seconds. */
#define LIFE_SECONDS 120
/* The exit status of a life in which its fault had no occasion. */
#define NO_OCCASION 77

static const faults_t *faults; /* set once */
static long ordered;
/* Where the fault was. */
static void *places[16];
static int depth;

/* Of the sanitizers. */
extern void __sanitizer_symbolize_pc(void *pc, const char *format, char *text, size_t size);

void trial_note_place(void) {
        depth = backtrace(places, sizeof(places) / sizeof(places[0]));
}

static void tell_place(void) {
        char text[512];
        for (int i = 0; i < depth; i++) {
                __sanitizer_symbolize_pc(places[i], "%f %S", text, sizeof(text));
                fprintf(stderr, "    %s\n", text);
        }
}

typedef struct process {
        pid_t pid; /* 0: none */
        long number;
        time_t until;
        FILE *output;
} process_t;

bool trial_is_faultless(void) {
        return ordered == 0;
}

void trial_fail(const char *format, ...) {
        va_list values;
        va_start(values, format);
        vfprintf(stderr, format, values);
        va_end(values);
        fputs(", after a fault in\n", stderr);
        tell_place();
        _exit(1);
}

static _Noreturn void lead(const trial_t *trial, process_t *process) {
        dup2(fileno(process->output), STDOUT_FILENO);
        dup2(fileno(process->output), STDERR_FILENO);
        ordered = process->number;
        faults->order(process->number);
        trial->life();
        /* The sanitizers look for leaks at the exit. */
        exit(process->number && !faults->happened(process->number) ? NO_OCCASION : 0);
}

static bool start(const trial_t *trial, process_t *process, long number) {
        *process = (process_t){.number = number, .output = tmpfile()};
        process->until = time(NULL) + LIFE_SECONDS;
        if (!process->output)
                return false;
        fflush(NULL);
        process->pid = fork();
        if (process->pid == 0)
                lead(trial, process);
        return process->pid > 0;
}

static void show(FILE *output) {
        char line[1024];
        rewind(output);
        while (fgets(line, sizeof(line), output))
                fputs(line, stderr);
}

/* Whether it ended well. */
static bool judge(const trial_t *trial, process_t *process, int status, bool *last) {
        bool exited = WIFEXITED(status), none = exited && WEXITSTATUS(status) == NO_OCCASION;
        bool well = exited && (WEXITSTATUS(status) == 0 || none);
        *last |= none;
        if (!well) {
                fprintf(stderr, "%s, fault %ld (%s): ", trial->name, process->number,
                        faults->tell ? faults->tell(process->number) : "");
                if (exited)
                        fprintf(stderr, "exit status %d\n", WEXITSTATUS(status));
                else
                        fprintf(stderr, "%s\n",
                                WTERMSIG(status) == SIGKILL ? "hangs"
                                                            : strsignal(WTERMSIG(status)));
                show(process->output);
        }
        fclose(process->output);
        process->pid = 0;
        return well;
}

/* Waits for one of them to end. */
static bool await_one(const trial_t *trial, process_t *processes, bool *last) {
        const struct timespec pause = {.tv_nsec = 20000000};
        for (;; nanosleep(&pause, NULL)) {
                for (int i = 0; i < BESIDE; i++) {
                        process_t *process = &processes[i];
                        int status;
                        if (!process->pid)
                                continue;
                        if (time(NULL) > process->until)
                                kill(process->pid, SIGKILL);
                        if (waitpid(process->pid, &status, WNOHANG) == process->pid)
                                return judge(trial, process, status, last);
                }
        }
}

static process_t *free_place(process_t *processes) {
        for (int i = 0; i < BESIDE; i++) {
                if (!processes[i].pid)
                        return &processes[i];
        }
        return NULL;
}

/* Without a fault, and with each; false, and told, when one ends badly. */
static bool run(const trial_t *trial) {
        process_t processes[BESIDE] = {{0}}, *place;
        bool last = false, well;
        long next = 1;
        int running = 0;
        /* A life that cannot be led at all is not tried any further. */
        well = start(trial, &processes[0], 0) && await_one(trial, processes, &last);
        last |= !well;
        while (running || !last) {
                if (!last && (place = free_place(processes))) {
                        if (!start(trial, place, next++))
                                trial_fail("there is no process");
                        running++;
                        continue;
                }
                well = await_one(trial, processes, &last) && well;
                running--;
        }
        printf("[  %s ] %s, %ld faults\n", well ? "     OK" : "FAILED", trial->name, next - 1);
        return well;
}

/* In this process, so that a debugger can follow. */
static int lead_alone(const trial_t *trial, const char *number) {
        ordered = strtol(number, NULL, 10);
        if (faults->tell) { /* it must be known what there is */
                faults->order(0);
                if (ordered)
                        trial->life();
        }
        faults->order(ordered);
        trial->life();
        tell_place();
        return 0;
}

int trial_main(const trial_t *trials, size_t count, const faults_t *of, int argc, char **argv) {
        bool well = true;
        faults = of;
        for (size_t i = 0; i < count; i++) {
                if (argc > 1 && strcmp(argv[1], trials[i].name) != 0)
                        continue;
                if (argc > 2)
                        return lead_alone(&trials[i], argv[2]);
                well = run(&trials[i]) && well;
        }
        return well ? 0 : 1;
}
