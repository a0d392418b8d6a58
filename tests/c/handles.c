/* What handles promise: closing, sharing by threads, and use on both sides of fork. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define EACH 10
#define CHILDREN 4

/* The port of a new key, 0 when reserving fails. */
static uint16_t reserve(trop_registry *registry, const char *path, const char *tag, int32_t *status)
{
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.path = path;
    options.tag = tag;
    trop_reservation *reservation;
    *status = trop_reserve(registry, &options, &reservation, NULL);
    uint16_t port = trop_reservation_port(reservation);
    trop_reservation_free(reservation);
    return port;
}

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (text = strstr(text, part); text != NULL; text = strstr(text + 1, part))
        count++;
    return count;
}

static void reservations_and_lists(void)
{
    trop_error *error = NULL;
    trop_registry *registry;
    MUST(trop_open(NULL, &registry, &error));
    trop_reserve_options options = TROP_RESERVE_OPTIONS_INIT;
    options.path = "/c/list";
    options.tag = " web ";
    trop_reservation *first, *again;
    MUST(trop_reserve(registry, &options, &first, &error));
    MUST(trop_reserve(registry, &options, &again, &error));
    CHECK(trop_reservation_port(first) >= 23500 && trop_reservation_port(first) <= 23999);
    CHECK(trop_reservation_port(first) == trop_reservation_port(again));
    CHECK(trop_reservation_created(first) == 1 && trop_reservation_created(again) == 0);
    CHECK(same_text(trop_reservation_path(first), "/c/list"));
    CHECK(same_text(trop_reservation_tag(first), "web"));
    CHECK(trop_reservation_project(first) == NULL && trop_reservation_task(first) == NULL);
    CHECK(trop_reservation_refusal(first) == NULL);
    CHECK(trop_reservation_created_at(first) > 1000000000);
    CHECK(trop_reservation_last_used_at(again) >= trop_reservation_created_at(first));

    options.tag = NULL;
    options.port = trop_reservation_port(first);
    trop_reservation *other;
    MUST(trop_reserve(registry, &options, &other, &error));
    CHECK(same_text(trop_reservation_refusal(other), "reserved"));
    CHECK(trop_reservation_tag(other) == NULL);

    char *json;
    MUST(trop_list(registry, NULL, &json, &error));
    CHECK(json[0] == '[' && json[strlen(json) - 1] == ']');
    CHECK(occurrences(json, "\"path\":\"/c/list\"") == 2);
    CHECK(occurrences(json, "\"tag\":\"web\"") == 1 && occurrences(json, "\"tag\":null") == 1);
    trop_string_free(json);

    /* A reservation's description outlives its registry. */
    trop_registry_free(registry);
    CHECK(same_text(trop_reservation_path(first), "/c/list"));
    trop_reservation_free(first);
    trop_reservation_free(again);
    trop_reservation_free(other);
}

static void closed_handles(void)
{
    trop_error *error = NULL;
    trop_registry *closed, *open, *shared;
    MUST(trop_open(NULL, &closed, &error));
    MUST(trop_open(NULL, &open, &error));
    trop_registry_close(closed);
    trop_registry_close(closed);
    trop_reservation *reservation;
    char *json;
    CHECK_ERROR(trop_reserve(closed, NULL, &reservation, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_release(closed, NULL, NULL, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_release_port(closed, 23000, 0, NULL, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_release_port(closed, 23000, TROP_DRY_RUN, NULL, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_find(closed, NULL, NULL, &reservation, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_find_port(closed, 23000, &reservation, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_list(closed, NULL, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_projects(closed, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_reserve_group(closed, NULL, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_clean(closed, NULL, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_migrate(closed, NULL, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_scan(closed, -1, -1, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_validate_database(closed, &error), TROP_ERR_CLOSED, NULL);
    trop_registry_free(closed);
    MUST(trop_list(open, NULL, &json, &error)); /* the same file, another handle */
    trop_string_free(json);
    trop_registry_free(open);

    /* Closing one handle of the process-wide registry does not close the others. */
    trop_open_options options = TROP_OPEN_OPTIONS_INIT;
    options.flags = TROP_OPEN_SHARED;
    MUST(trop_open(&options, &closed, &error));
    MUST(trop_open(&options, &shared, &error));
    trop_registry_close(closed);
    CHECK_ERROR(trop_list(closed, NULL, &json, &error), TROP_ERR_CLOSED, NULL);
    MUST(trop_list(shared, NULL, &json, &error));
    trop_string_free(json);
    trop_registry_free(closed);
    trop_registry_free(shared);
}

/* How many descriptors this process has on a registry's files; -1 where nobody can tell. */
static int open_files(void)
{
    DIR *descriptors = opendir("/proc/self/fd");
    if (descriptors == NULL)
        return -1;
    int count = 0;
    for (struct dirent *entry = readdir(descriptors); entry != NULL; entry = readdir(descriptors)) {
        char path[300], target[4096];
        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        target[length < 0 ? 0 : length] = '\0';
        count += strstr(target, "/trop.db") != NULL;
    }
    closedir(descriptors);
    return count;
}

static void closing_closes_the_files(void)
{
    if (open_files() < 0)
        return;
    trop_error *error = NULL;
    trop_registry *registry;
    CHECK(open_files() == 0);
    MUST(trop_open(NULL, &registry, &error));
    CHECK(open_files() > 0);
    trop_registry_close(registry);
    CHECK(open_files() == 0);
    trop_registry_free(registry);
    MUST(trop_open(NULL, &registry, &error));
    trop_registry_free(registry);
    CHECK(open_files() == 0);
}

struct worker {
    pthread_t thread;
    int number;
    trop_registry *registry;
    pthread_barrier_t *start;
    uint16_t ports[EACH];
    int32_t status;
};

static void *reserve_each(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(worker->start);
    for (int i = 0; i < EACH && worker->status == TROP_OK; i++) {
        char tag[32];
        snprintf(tag, sizeof(tag), "%d-%d", worker->number, i);
        worker->ports[i] = reserve(worker->registry, "/c/threads", tag, &worker->status);
    }
    return NULL;
}

static void threads_share_a_handle(void)
{
    trop_error *error = NULL;
    trop_registry *registry;
    MUST(trop_open(NULL, &registry, &error));
    static struct worker workers[THREADS];
    static int seen[65536];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].registry = registry;
        workers[i].start = &start;
        CHECK(pthread_create(&workers[i].thread, NULL, reserve_each, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        CHECK(workers[i].status == TROP_OK);
        for (int j = 0; j < EACH; j++)
            CHECK(workers[i].ports[j] != 0 && seen[workers[i].ports[j]]++ == 0);
    }
    pthread_barrier_destroy(&start);
    trop_registry_free(registry);
}

struct busy_thread {
    trop_registry *registry;
    int stop[2]; /* a pipe: closing its write end stops the thread */
    int32_t status;
};

static void *reserve_until_stopped(void *argument)
{
    struct busy_thread *self = argument;
    char byte;
    while (self->status == TROP_OK && read(self->stop[0], &byte, 1) != 0)
        reserve(self->registry, "/c/fork", "busy", &self->status);
    return NULL;
}

/* Children are forked while another thread uses the handle; afterwards parent and children go on using it. */
static void forks_keep_the_handle_usable(void)
{
    trop_error *error = NULL;
    trop_registry *registry;
    MUST(trop_open(NULL, &registry, &error));
    struct busy_thread busy = { registry, { -1, -1 }, TROP_OK };
    int go[2], result[2];
    CHECK(pipe(busy.stop) == 0 && pipe(go) == 0 && pipe(result) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reserve_until_stopped, &busy) == 0);

    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        char tag[16];
        snprintf(tag, sizeof(tag), "child-%d", i);
        CHECK(write(busy.stop[1], "....", 4) == 4); /* work for the thread during the fork */
        children[i] = fork();
        if (children[i] == 0) {
            char byte;
            close(go[1]);
            int32_t status;
            uint16_t port = 0;
            if (read(go[0], &byte, 1) == 0) /* all children at once: the parent closes its end */
                port = reserve(registry, "/c/fork", tag, &status);
            _exit(write(result[1], &port, sizeof(port)) != (ssize_t)sizeof(port));
        }
        CHECK(children[i] > 0);
    }
    close(go[0]);
    close(go[1]);
    close(busy.stop[1]);
    int32_t status;
    uint16_t ports[CHILDREN + 1] = { 0 };
    ports[CHILDREN] = reserve(registry, "/c/fork", "parent", &status);
    CHECK(status == TROP_OK);
    pthread_join(thread, NULL);
    CHECK(busy.status == TROP_OK);

    for (int i = 0; i < CHILDREN; i++) {
        int child_status;
        /* The exit status is not checked: a memory checker reports memory of threads that fork did not copy
         * as leaks. */
        CHECK(waitpid(children[i], &child_status, 0) == children[i] && WIFEXITED(child_status));
    }
    close(result[1]);
    for (int i = 0; i < CHILDREN; i++)
        CHECK(read(result[0], &ports[i], sizeof(ports[i])) == (ssize_t)sizeof(ports[i]) && ports[i] != 0);
    for (int i = 0; i <= CHILDREN; i++)
        for (int j = 0; j < i; j++)
            CHECK(ports[i] != ports[j]);
    close(result[0]);
    close(busy.stop[0]);

    char *json;
    MUST(trop_list(registry, NULL, &json, &error));
    CHECK(occurrences(json, "\"tag\":\"child-") == CHILDREN);
    CHECK(occurrences(json, "\"tag\":\"parent\"") == 1);
    trop_string_free(json);
    trop_registry_free(registry);
}

int main(void)
{
    reservations_and_lists();
    closing_closes_the_files();
    closed_handles();
    threads_share_a_handle();
    forks_keep_the_handle_usable();
    return failures != 0;
}
