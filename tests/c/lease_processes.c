/* Leases and processes: what happens to leases after fork, after exec, and when a process is killed. */
#define _DEFAULT_SOURCE

#include "lease.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

/* In this program, because that registry is never closed: only the forks here make it free its memory. */
static void the_registry_of_the_process_goes_on_without_a_handle(void)
{
    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.flags = TROP_OPEN_SHARED;
    trop_registry *shared;
    trop_lease_handle *lease;
    MUST(trop_open(&options, &shared, &error));
    MUST(trop_lease(shared, NULL, &lease, &error));
    trop_registry_close(shared);
    trop_registry_free(shared);
    CHECK(trop_lease_is_open(lease) == 1 && listed("\"state\":\"alive\"") == 1);
    trop_lease_free(lease);
    CHECK(listed("\"port\":") == 0);
}

static trop_lease_handle *inherited;

/* Runs something in a child and waits for its end; its failures count as this program's. */
static void in_child(void (*run)(void))
{
    int result[2], found = -1, status;
    CHECK(pipe(result) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        failures = 0;
        run();
        fflush(stdout);
        _exit(write(result[1], &failures, sizeof(failures)) != (ssize_t)sizeof(failures));
    }
    close(result[1]);
    CHECK(read(result[0], &found, sizeof(found)) == (ssize_t)sizeof(found) && found == 0);
    close(result[0]);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
}

static void end_what_is_inherited(void)
{
    CHECK(trop_lease_is_open(inherited) == 1 && trop_lease_port(inherited) == MIN);
    trop_lease_close(inherited);
    CHECK(trop_lease_is_open(inherited) == 1 && !is_free(MIN));
    trop_lease_free(inherited);
    CHECK(!is_free(MIN));
    trop_registry_close(registry);
    CHECK(!is_free(MIN));
}

static void lease_in_the_child(void)
{
    CHECK(own(registry) == 0);
    trop_lease_handle *lease = leased(NULL), *closed = leased(NULL);
    CHECK(trop_lease_port(lease) == MIN + 1 && trop_lease_port(closed) == MIN + 2 && own(registry) == 2);
    trop_lease_close(closed);
    CHECK(own(registry) == 1 && is_free(MIN + 2) && !is_free(MIN + 1));
    char expected[40];
    snprintf(expected, sizeof(expected), "\"pid\":%d,", (int)getpid());
    CHECK(listed(expected) == 1);
    int64_t held; /* a child may serve on a port that its parent leased */
    MUST(trop_lease_listen(inherited, NULL, -1, &held, &error));
    MUST(trop_lease_wait_listening(inherited, -1, &error));
}

static int64_t stranger;

static void lease_what_another_listens_on(void)
{
    close((int)stranger); /* the parent keeps its copy open */
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.min = options.max = MAX;
    trop_lease_handle *lease = leased(&options);
    time_t before = time(NULL);
    int32_t status = trop_lease_wait_listening(lease, 60000, &error);
    char expected[40];
    snprintf(expected, sizeof(expected), "process %d ", (int)getppid());
    if (status != TROP_OK) { /* else this system does not tell which process listens */
        CHECK(strstr(trop_error_message(error), expected) != NULL && time(NULL) - before < 50);
        CHECK_ERROR(status, TROP_ERR_NOT_LISTENING, NULL);
    }
    trop_lease_free(lease);
}

static void listeners_that_are_strangers_are_named(void)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.min = options.max = MAX;
    trop_lease_handle *lease = leased(&options);
    MUST(trop_lease_listen(lease, NULL, -1, &stranger, &error));
    trop_lease_free(lease);
    in_child(lease_what_another_listens_on);
    close((int)stranger);
}

static void a_child_that_exits_first_ends_nothing(void)
{
    inherited = leased_at(MIN);
    in_child(end_what_is_inherited);
    CHECK(trop_lease_is_open(inherited) == 1 && !is_free(MIN));
    in_child(lease_in_the_child);
    CHECK(listed("\"state\":\"alive\"") == 1 && listed("\"state\":\"ended\"") == 1);
    CHECK(!is_free(MIN) && is_free(MIN + 1));
    trop_lease_close(inherited);
    trop_lease_free(inherited);
    CHECK(is_free(MIN));
}

static int lives_on[2];

static void leave_a_child_behind(void)
{
    leased_at(MIN);
    fflush(stdout);
    if (fork() == 0) {
        char byte;
        close(lives_on[1]);
        _exit(read(lives_on[0], &byte, 1) != 0);
    }
}

/* The process that leased has ended; a child that it forked lives until the pipe is closed. */
static void a_lease_lasts_until_the_last_child_ends(void)
{
    CHECK(pipe(lives_on) == 0);
    in_child(leave_a_child_behind);
    CHECK(listed("\"state\":\"alive\"") == 1 && !is_free(MIN));
    close(lives_on[0]);
    close(lives_on[1]);
    while (!is_free(MIN)) /* a grandchild cannot be waited for; the alarm ends a wait that is too long */
        usleep(1000);
}

static int to_program[2], from_program[2];

static void leave_a_program_behind(void)
{
    leased_at(MIN);
    fflush(stdout);
    if (fork() == 0) {
        dup2(to_program[0], STDIN_FILENO);
        dup2(from_program[1], STDOUT_FILENO);
        close(to_program[1]);
        execlp("cat", "cat", (char *)NULL);
        _exit(1);
    }
}

/* As before, but the child became another program. */
static void a_program_that_is_started_has_nothing_of_the_lease(void)
{
    char byte = '.';
    CHECK(pipe(to_program) == 0 && pipe(from_program) == 0);
    in_child(leave_a_program_behind);
    CHECK(write(to_program[1], &byte, 1) == 1 && read(from_program[0], &byte, 1) == 1); /* it is running */
    CHECK(listed("\"state\":\"ended\"") == 1 && is_free(MIN));
    CHECK(write(to_program[1], &byte, 1) == 1 && read(from_program[0], &byte, 1) == 1); /* it still runs */
    for (int i = 0; i < 2; i++) {
        close(to_program[i]);
        close(from_program[i]);
    }
}

static void die_with_a_lease(void)
{
    leased_at(MIN);
    CHECK(write(lives_on[1], ".", 1) == 1);
    pause();
}

static void a_killed_process_loses_its_leases(void)
{
    char byte;
    int status;
    CHECK(pipe(lives_on) == 0);
    pid_t child = fork();
    if (child == 0) {
        die_with_a_lease();
        _exit(0);
    }
    CHECK(read(lives_on[0], &byte, 1) == 1 && !is_free(MIN));
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK(listed("\"state\":\"ended\"") == 1);
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.port = MIN; /* a request for a port does not get another one because of that */
    trop_lease_handle *lease = leased(&options);
    CHECK(trop_lease_port(lease) == MIN);
    trop_lease_free(lease);
    close(lives_on[0]);
    close(lives_on[1]);
}

int main(void)
{
    begin();
    the_registry_of_the_process_goes_on_without_a_handle();
    listeners_that_are_strangers_are_named();
    a_child_that_exits_first_ends_nothing();
    a_lease_lasts_until_the_last_child_ends();
    a_program_that_is_started_has_nothing_of_the_lease();
    a_killed_process_loses_its_leases();
    return end();
}
