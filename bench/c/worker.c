/* The C worker of `make bench`; the protocol is in bench/PROTOCOL.md. */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <trop.h>

#define TAG_SIZE 48
#define SECOND 1000000000

static trop_open_options opening = TROP_OPEN_OPTIONS_INIT;
static trop_registry *registry;

/* The numbers of the tags that are reserved, the oldest first, and how many tags were made. */
static uint64_t *reserved;
static size_t reserved_count;
static uint64_t made;

/* The leases that are kept, the oldest first. */
static trop_lease_handle **leases;
static size_t lease_count;

/* A tag and the options of the calls with it. */
struct request {
    uint64_t number;
    char tag[TAG_SIZE];
    trop_reserve_options reserve;
    trop_release_options release;
};

/* The result of a call. */
struct result {
    int64_t ns;
    int32_t status;
    trop_reservation *reservation;
    trop_lease_handle *lease;
    trop_error *error;
};

/* The current command. */
static const char *operation;
static size_t count;
static struct request *requests;
static struct result *results;

static void die(const char *what)
{
    fprintf(stderr, "c-worker: %s\n", what);
    exit(1);
}

static void *allocate(void *old, size_t number, size_t size)
{
    void *new = realloc(old, (number + 1) * size);
    if (new == NULL)
        die("out of memory");
    return new;
}

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

/* Times each call by itself. Its result is stored afterwards, because the first write to new memory takes
 * time. */
static void measure(void (*call)(size_t, struct result *))
{
    for (size_t i = 0; i < count; i++) {
        struct result result = {0, TROP_OK, NULL, NULL, NULL};
        int64_t start = nanoseconds(CLOCK_MONOTONIC);
        call(i, &result);
        result.ns = nanoseconds(CLOCK_MONOTONIC) - start;
        results[i] = result;
    }
}

/* The calls */

static void reserve(size_t i, struct result *result)
{
    result->status = trop_reserve(registry, &requests[i].reserve, &result->reservation, &result->error);
}

static void hit(size_t i, struct result *result)
{
    (void)i;
    reserve(0, result);
}

static void release(size_t i, struct result *result)
{
    result->status = trop_release(registry, &requests[i].release, NULL, &result->error);
}

static void lease(size_t i, struct result *result)
{
    (void)i;
    result->status = trop_lease(registry, NULL, &result->lease, &result->error);
}

static void close_lease(size_t i, struct result *result)
{
    trop_lease_close(leases[i]);
    result->status = TROP_OK;
}

static void open_and_hit(size_t i, struct result *result)
{
    (void)i;
    trop_registry *own;
    result->status = trop_open(&opening, &own, &result->error);
    if (result->status == TROP_OK)
        result->status = trop_reserve(own, &requests[0].reserve, &result->reservation, &result->error);
    trop_registry_free(own);
}

/* The operations */

static void prepare(size_t i, uint64_t number)
{
    struct request *request = &requests[i];
    request->number = number;
    snprintf(request->tag, TAG_SIZE, "%ld-%" PRIu64, (long)getpid(), number);
    request->reserve = (trop_reserve_options)TROP_RESERVE_OPTIONS_INIT;
    request->reserve.tag = request->tag;
    request->release = (trop_release_options)TROP_RELEASE_OPTIONS_INIT;
    request->release.tag = request->tag;
}

static void reserve_new(uint32_t flags)
{
    for (size_t i = 0; i < count; i++) {
        prepare(i, ++made);
        requests[i].reserve.flags = flags;
    }
    measure(reserve);
    reserved = allocate(reserved, reserved_count + count, sizeof *reserved);
    for (size_t i = 0; i < count; i++)
        if (results[i].status == TROP_OK)
            reserved[reserved_count++] = requests[i].number;
}

static void prepare_oldest(void)
{
    if (count > reserved_count)
        die("fewer tags are reserved");
    for (size_t i = 0; i < count; i++)
        prepare(i, reserved[i]);
}

static void release_oldest(void)
{
    prepare_oldest();
    measure(release);
    /* Those whose release failed stay the oldest. */
    size_t kept = 0;
    for (size_t i = 0; i < reserved_count; i++)
        if (i >= count || results[i].status != TROP_OK)
            reserved[kept++] = reserved[i];
    reserved_count = kept;
}

/* Prepares a request for the tag that was reserved last. It is reserved again if that is asked for, and a
 * first tag is reserved if there is none. */
static void prepare_last(bool again)
{
    if (reserved_count == 0) {
        reserved = allocate(reserved, 1, sizeof *reserved);
        reserved[reserved_count++] = ++made;
        again = true;
    }
    prepare(0, reserved[reserved_count - 1]);
    struct result result = {0, TROP_OK, NULL, NULL, NULL};
    if (again)
        reserve(0, &result);
    if (result.status != TROP_OK)
        die(trop_error_message(result.error));
    trop_reservation_free(result.reservation);
}

static void touch_oldest(void)
{
    prepare_oldest();
    /* Waits for the next second, so that reserving each tag again changes its last_used_at. */
    int64_t next = (nanoseconds(CLOCK_REALTIME) / SECOND + 1) * SECOND;
    int64_t left;
    while ((left = next - nanoseconds(CLOCK_REALTIME)) > 0) {
        struct timespec pause = {(time_t)(left / SECOND), (long)(left % SECOND)};
        nanosleep(&pause, NULL);
    }
    measure(reserve);
}

static void keep_leases(void)
{
    measure(lease);
    leases = allocate(leases, lease_count + count, sizeof *leases);
    for (size_t i = 0; i < count; i++)
        if (results[i].status == TROP_OK)
            leases[lease_count++] = results[i].lease;
}

static void close_oldest(void)
{
    if (count > lease_count)
        die("fewer leases are kept");
    measure(close_lease);
    for (size_t i = 0; i < count; i++)
        trop_lease_free(leases[i]);
    lease_count -= count;
    memmove(leases, leases + count, lease_count * sizeof *leases);
}

static void run(void)
{
    if (strcmp(operation, "new") == 0) {
        reserve_new(0);
    } else if (strcmp(operation, "fill") == 0) {
        reserve_new(TROP_SKIP_OCCUPANCY_CHECK);
    } else if (strcmp(operation, "release") == 0) {
        release_oldest();
    } else if (strcmp(operation, "hit") == 0) {
        prepare_last(true);
        measure(hit);
    } else if (strcmp(operation, "touch") == 0) {
        touch_oldest();
    } else if (strcmp(operation, "lease") == 0) {
        keep_leases();
    } else if (strcmp(operation, "close") == 0) {
        close_oldest();
    } else if (strcmp(operation, "open") == 0) {
        prepare_last(false);
        measure(open_and_hit);
    } else {
        die("unknown operation");
    }
}

/* Prints the answer and frees what came out. */
static void answer(void)
{
    size_t failed = 0;
    printf("{\"ns\":[");
    for (size_t i = 0; i < count; i++)
        printf("%s%" PRId64, i == 0 ? "" : ",", results[i].ns);
    printf("],\"ports\":[");
    const char *separator = "";
    for (size_t i = 0; i < count; i++) {
        struct result *result = &results[i];
        if (result->status != TROP_OK && failed++ == 0)
            fprintf(stderr, "c-worker: %s: %s\n", operation, trop_error_message(result->error));
        if (result->reservation != NULL || result->lease != NULL) {
            unsigned port = result->lease != NULL ? trop_lease_port(result->lease)
                                                  : trop_reservation_port(result->reservation);
            printf("%s%u", separator, port);
            separator = ",";
        }
        trop_reservation_free(result->reservation);
        trop_error_free(result->error);
    }
    printf("],\"failed\":%zu}\n", failed);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("usage: c-worker DATA_DIR MIN MAX");
    opening.flags = TROP_OPEN_NO_DISCOVERY | TROP_OPEN_NO_VARIABLES;
    opening.data_dir = argv[1];
    opening.ports_min = atoi(argv[2]);
    opening.ports_max = atoi(argv[3]);
    trop_error *error;
    if (trop_open(&opening, &registry, &error) != TROP_OK)
        die(trop_error_message(error));
    puts("ready");
    fflush(stdout);

    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char name[32];
        if (sscanf(line, "%31s %zu", name, &count) != 2)
            die("malformed command");
        operation = name;
        requests = allocate(requests, count, sizeof *requests);
        results = allocate(results, count, sizeof *results);
        run();
        answer();
    }

    for (size_t i = 0; i < lease_count; i++)
        trop_lease_free(leases[i]);
    trop_registry_free(registry);
    free(leases);
    free(reserved);
    free(requests);
    free(results);
    return 0;
}
