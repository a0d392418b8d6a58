/* Leases: what each call and each option of it does, and when they end. */
#define _DEFAULT_SOURCE

#include "lease.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>

#define THREADS 8
#define EACH 20

static int32_t fails_to_lease(trop_registry *from, const trop_lease_options *options)
{
    trop_lease_handle *lease;
    int32_t status = trop_lease(from, options, &lease, &error);
    CHECK(lease == NULL);
    return status;
}

/* Taking and ending */

static void a_lease_is_the_lowest_port_and_comes_back(void)
{
    trop_lease_handle *first = leased(NULL), *second = leased(NULL);
    CHECK(trop_lease_port(first) == MIN && trop_lease_port(second) == MIN + 1);
    CHECK(trop_lease_is_open(first) == 1 && trop_lease_label(first) == NULL);
    CHECK(!is_free(MIN) && own(registry) == 2 && own(other) == 0);
    trop_lease_close(first);
    trop_lease_close(first);
    CHECK(trop_lease_is_open(first) == 0 && trop_lease_port(first) == MIN);
    CHECK(is_free(MIN) && own(registry) == 1);
    trop_lease_handle *next = leased(NULL); /* what was given up rests */
    CHECK(trop_lease_port(next) == MIN + 2);
    trop_lease_free(next);
    trop_lease_handle *again = leased_at(MIN);
    CHECK(trop_lease_port(again) == MIN);
    trop_lease_close(first); /* does not end the lease that has the port by now */
    trop_lease_free(first);
    CHECK(trop_lease_is_open(again) == 1 && !is_free(MIN));
    trop_lease_free(again); /* without closing */
    trop_lease_free(second);
    CHECK(is_free(MIN) && listed("\"port\":") == 0);
}

static void options_choose_the_port(void)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.label = " the shop ";
    options.port = 23005;
    trop_lease_handle *lease = leased(&options);
    CHECK(trop_lease_port(lease) == 23005 && same_text(trop_lease_label(lease), "the shop"));
    CHECK(listed("\"label\":\"the shop\"") == 1);
    trop_lease_handle *refused = leased(&options);
    CHECK(trop_lease_port(refused) == 23004);
    trop_lease_free(refused);
    options.port = 23003; /* excluded */
    refused = leased(&options);
    CHECK(trop_lease_port(refused) == 23006);
    trop_lease_free(refused);
    trop_lease_free(lease);

    options.port = -1;
    options.min = 23007;
    lease = leased(&options);
    CHECK(trop_lease_port(lease) == 23007);
    trop_lease_free(lease);
    options.min = 23009;
    options.max = 23010;
    lease = leased(&options);
    refused = leased(&options);
    CHECK(trop_lease_port(lease) == 23009 && trop_lease_port(refused) == 23010);
    CHECK_ERROR(fails_to_lease(registry, &options), TROP_ERR_EXHAUSTED, NULL);
    trop_lease_free(lease);
    trop_lease_free(refused);
    options.min = 23009;
    options.max = 23008;
    CHECK_ERROR(fails_to_lease(registry, &options), TROP_ERR_INVALID_ARGUMENT, "min");
    CHECK(listed("\"port\":") == 0);
}

static void free_all(trop_lease_handle **leases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        trop_lease_free(leases[i]);
}

static void several_ports_or_none(void)
{
    trop_lease_handle *leases[12];
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.label = "many";
    MUST(trop_lease_many(registry, 5, &options, leases, &error));
    for (int i = 0; i < 5; i++) {
        CHECK(same_text(trop_lease_label(leases[i]), "many"));
        CHECK(i == 0 || trop_lease_port(leases[i]) > trop_lease_port(leases[i - 1]));
    }
    free_all(leases, 5);

    options.flags = TROP_LEASE_CONTIGUOUS;
    MUST(trop_lease_many(registry, 5, &options, leases, &error));
    for (int i = 0; i < 5; i++)
        CHECK(trop_lease_port(leases[i]) == 23004 + i);
    free_all(leases, 5);
    options.port = 23007;
    MUST(trop_lease_many(registry, 2, &options, leases, &error));
    CHECK(trop_lease_port(leases[0]) == 23007 && trop_lease_port(leases[1]) == 23008);
    free_all(leases, 2);

    options.port = -1;
    memset(leases, 0xff, sizeof(leases));
    CHECK_ERROR(trop_lease_many(registry, 7, &options, leases, &error), TROP_ERR_EXHAUSTED, NULL);
    for (int i = 0; i < 7; i++)
        CHECK(leases[i] == NULL);
    CHECK(leases[7] != NULL);
    options.flags = 0;
    CHECK_ERROR(trop_lease_many(registry, 10, &options, leases, &error), TROP_ERR_EXHAUSTED, NULL);
    CHECK(listed("\"port\":") == 0);
    const uint32_t impossible[] = { 0, 11, 65535, 65536, UINT32_MAX };
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        static trop_lease_handle *room[65535];
        CHECK_ERROR(trop_lease_many(registry, impossible[i], NULL, room, &error), TROP_ERR_INVALID_ARGUMENT, "count");
    }
}

static void closing_the_registry_ends_its_leases(void)
{
    trop_registry *closed = opened(MIN, MAX, TROP_SKIP_OCCUPANCY_CHECK);
    trop_lease_handle *lease, *kept;
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.port = MIN;
    MUST(trop_lease(closed, &options, &lease, &error));
    options.port = MIN + 1;
    MUST(trop_lease(closed, &options, &kept, &error));
    trop_registry_close(closed);
    CHECK(trop_lease_is_open(lease) == 0 && is_free(MIN));
    trop_lease_close(lease);
    int64_t held;
    CHECK_ERROR(trop_lease_listen(lease, NULL, -1, &held, &error), TROP_ERR_CLOSED, NULL);
    trop_lease_free(lease);
    char *json;
    CHECK_ERROR(fails_to_lease(closed, NULL), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_lease_many(closed, 1, NULL, &lease, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_leases(closed, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_own_leases(closed, &json, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_explain(closed, MIN, &json, &error), TROP_ERR_CLOSED, NULL);
    trop_registry_free(closed);
    CHECK(trop_lease_port(kept) == MIN + 1 && trop_lease_is_open(kept) == 0);
    trop_lease_free(kept); /* after its registry */
}

/* Looking */

static void who_has_a_port(void)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.label = "checkout";
    options.port = MIN;
    trop_lease_handle *lease = leased(&options);
    char expected[100], *json;
    snprintf(expected, sizeof(expected), "\"pid\":%d,", (int)getpid());
    CHECK(listed(expected) == 1 && listed("\"command\":\"") == 1 && listed("\"directory\":\"/") == 1);
    CHECK(listed("\"since\":\"20") == 1 && listed("\"state\":\"alive\"") == 1);

    MUST(trop_explain(other, MIN, &json, &error));
    CHECK(strstr(json, "\"label\":\"checkout\"") != NULL && strstr(json, "\"reservation\":null") != NULL);
    CHECK(strstr(json, "\"in_range\":true") != NULL && strstr(json, "\"excluded\":false") != NULL);
    CHECK(strstr(json, "\"text\":\"Port 23000 is leased for 'checkout'") != NULL);
    trop_string_free(json);
    MUST(trop_explain(other, 23003, &json, &error));
    CHECK(strstr(json, "\"lease\":null") != NULL && strstr(json, "\"excluded\":true") != NULL);
    trop_string_free(json);

    /* A lease is not a reservation. */
    trop_reservation *reservation;
    MUST(trop_find_port(other, MIN, &reservation, &error));
    CHECK(reservation == NULL);
    MUST(trop_list(other, NULL, &json, &error));
    CHECK(same_text(json, "[]"));
    trop_string_free(json);

    uint64_t count;
    CHECK_ERROR(trop_release_port(other, MIN, 0, &count, &error), TROP_ERR_CONFLICT, "port");
    CHECK(count == 0 && !is_free(MIN));
    MUST(trop_release_port(other, MIN, TROP_FORCE, &count, &error));
    CHECK(count == 1 && is_free(MIN));
    trop_lease_free(lease);
}

/* Sockets */

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int connects(uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    int result = connect(client, (struct sockaddr *)&address, sizeof(address));
    close(client);
    return result == 0;
}

static int option_of(int64_t held, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);
    CHECK(getsockopt((int)held, SOL_SOCKET, name, &value, &size) == 0);
    return value;
}

static uint16_t port_of(int64_t held)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    CHECK(getsockname((int)held, (struct sockaddr *)&address, &size) == 0);
    CHECK(address.sin_family == AF_INET && address.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    return ntohs(address.sin_port);
}

static void sockets_on_the_port(trop_registry *probing)
{
    trop_lease_handle *lease;
    MUST(trop_lease(probing, NULL, &lease, &error));
    uint16_t port = trop_lease_port(lease);
    int64_t held;
    CHECK_ERROR(trop_lease_wait_listening(lease, 0, &error), TROP_ERR_NOT_LISTENING, NULL);
    CHECK_ERROR(trop_lease_wait_listening(lease, 30, &error), TROP_ERR_NOT_LISTENING, NULL);
    MUST(trop_lease_bind(lease, TROP_PROTOCOL_UDP, NULL, &held, &error));
    CHECK(port_of(held) == port && option_of(held, SO_TYPE) == SOCK_DGRAM);
    close((int)held);
    MUST(trop_lease_bind(lease, TROP_PROTOCOL_TCP, "localhost", &held, &error));
    CHECK(option_of(held, SO_TYPE) == SOCK_STREAM && option_of(held, SO_ACCEPTCONN) == 0);
    close((int)held);
    CHECK(!connects(port));

    MUST(trop_lease_listen(lease, NULL, -1, &held, &error));
    CHECK(port_of(held) == port && option_of(held, SO_ACCEPTCONN) == 1 && connects(port));
    MUST(trop_lease_wait_listening(lease, -1, &error));
    MUST(trop_lease_wait_listening(lease, 0, &error));
    char *json;
    MUST(trop_explain(probing, port, &json, &error));
    CHECK(strstr(json, "\"occupied\":true") != NULL);
    trop_string_free(json);
    int64_t second;
    CHECK_ERROR(trop_lease_listen(lease, "127.0.0.1", 1, &second, &error), TROP_ERR_IO, NULL);
    CHECK(second == -1);

    /* Lease and socket are independent of each other. */
    trop_lease_close(lease);
    CHECK(connects(port));
    CHECK_ERROR(trop_lease_listen(lease, NULL, -1, &second, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_lease_bind(lease, TROP_PROTOCOL_UDP, NULL, &second, &error), TROP_ERR_CLOSED, NULL);
    CHECK_ERROR(trop_lease_wait_listening(lease, 0, &error), TROP_ERR_CLOSED, NULL);
    CHECK(second == -1);
    trop_lease_free(lease);
    close((int)held);
}

/* The backlog limits how many connections wait; further ones are neither accepted nor refused. */
static void the_backlog_counts(trop_registry *probing)
{
    int waiting[2];
    for (int backlog = 0; backlog < 2; backlog++) {
        trop_lease_handle *lease;
        MUST(trop_lease(probing, NULL, &lease, &error));
        int64_t held;
        MUST(trop_lease_listen(lease, NULL, backlog * 20, &held, &error));
        struct sockaddr_in address = loopback(trop_lease_port(lease));
        int clients[10];
        waiting[backlog] = 0;
        for (int i = 0; i < 10; i++) {
            struct timeval moment = { 0, 100000 };
            clients[i] = socket(AF_INET, SOCK_STREAM, 0);
            setsockopt(clients[i], SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment));
            if (connect(clients[i], (struct sockaddr *)&address, sizeof(address)) != 0)
                break;
            waiting[backlog] = i + 1;
        }
        for (int i = 0; i < 10 && i <= waiting[backlog]; i++)
            close(clients[i]);
        close((int)held);
        trop_lease_free(lease);
    }
    CHECK(waiting[0] < 10 && waiting[1] == 10);
}

static void bad_input_for_sockets(void)
{
    trop_lease_handle *lease = leased(NULL);
    int64_t held;
    static const char *const hosts[] = { "", "\xff", "no such host", "127.0.0.1:80" };
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        CHECK_ERROR(trop_lease_listen(lease, hosts[i], -1, &held, &error), TROP_ERR_INVALID_ARGUMENT, "host");
        CHECK(held == -1);
        CHECK_ERROR(trop_lease_bind(lease, TROP_PROTOCOL_TCP, hosts[i], &held, &error), TROP_ERR_INVALID_ARGUMENT,
                    "host");
    }
    CHECK_ERROR(trop_lease_listen(lease, "192.0.2.1", -1, &held, &error), TROP_ERR_IO, NULL);
    CHECK_ERROR(trop_lease_listen(lease, NULL, -2, &held, &error), TROP_ERR_INVALID_ARGUMENT, "backlog");
    const int32_t protocols[] = { 0, 3, -1, INT32_MIN };
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
        CHECK_ERROR(trop_lease_bind(lease, protocols[i], NULL, &held, &error), TROP_ERR_INVALID_ARGUMENT, "protocol");
    CHECK_ERROR(trop_lease_wait_listening(lease, -2, &error), TROP_ERR_INVALID_ARGUMENT, "timeout");
    CHECK_ERROR(trop_lease_wait_listening(lease, INT32_MIN, &error), TROP_ERR_INVALID_ARGUMENT, "timeout");
    CHECK(trop_lease_is_open(lease) == 1);
    trop_lease_free(lease);
}

/* Whether another program could bind a port, with SO_REUSEADDR or without. */
static int can_be_bound(uint16_t port, int reuse)
{
    struct sockaddr_in address = loopback(port);
    int held = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(setsockopt(held, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) == 0);
    int result = bind(held, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(held, 1) == 0;
    close(held);
    return result;
}

static void a_port_can_be_held(trop_registry *probing)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.flags = TROP_LEASE_HOLD;
    trop_lease_handle *lease;
#ifdef __linux__
    MUST(trop_lease(probing, &options, &lease, &error));
    uint16_t port = trop_lease_port(lease);
    CHECK(!can_be_bound(port, 0) && can_be_bound(port, 1) && !connects(port));
    int64_t held;
    MUST(trop_lease_listen(lease, NULL, -1, &held, &error));
    CHECK(connects(port));
    close((int)held);
    trop_lease_close(lease);
    CHECK(can_be_bound(port, 0));
    trop_lease_free(lease);
    options.flags = 0;
    MUST(trop_lease(probing, &options, &lease, &error));
    CHECK(can_be_bound(trop_lease_port(lease), 0));
    trop_lease_free(lease);
#else
    CHECK_ERROR(fails_to_lease(probing, &options), TROP_ERR_UNSUPPORTED, NULL);
    (void)lease;
#endif
}

/* Threads */

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    trop_lease_handle *shared;
    int32_t status;
};

static int taken[65536];
static pthread_mutex_t taken_lock = PTHREAD_MUTEX_INITIALIZER;

/* Counts a lease of a port that begins or ends, and returns how many there are of the port now. */
static int note(uint16_t port, int change)
{
    pthread_mutex_lock(&taken_lock);
    int count = taken[port] += change;
    pthread_mutex_unlock(&taken_lock);
    return count;
}

static void *take_and_close(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(worker->start);
    for (int i = 0; i < EACH && worker->status == TROP_OK; i++) {
        trop_lease_handle *lease;
        worker->status = trop_lease(registry, NULL, &lease, NULL);
        if (worker->status == TROP_OK && note(trop_lease_port(lease), 1) != 1)
            worker->status = TROP_ERR_CONFLICT;
        note(trop_lease_port(lease), -1);
        if (i % 2 == 0)
            trop_lease_close(lease);
        trop_lease_free(lease);
    }
    trop_lease_close(worker->shared);
    return NULL;
}

static void threads_share_a_registry_and_a_lease(void)
{
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.port = MAX;
    trop_lease_handle *shared = leased(&options);
    struct worker workers[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker) { .start = &start, .shared = shared, .status = TROP_OK };
        CHECK(pthread_create(&workers[i].thread, NULL, take_and_close, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        CHECK(workers[i].status == TROP_OK);
    }
    pthread_barrier_destroy(&start);
    CHECK(trop_lease_is_open(shared) == 0);
    trop_lease_free(shared);
    CHECK(listed("\"port\":") == 0);
}

static void a_number_outlives_its_handle(void)
{
    enum { FIRST = 23200, COUNT = 5 };
    trop_registry *five = opened(FIRST, FIRST + COUNT - 1, TROP_SKIP_OCCUPANCY_CHECK);
    trop_registry *again = opened(FIRST, FIRST + COUNT - 1, TROP_SKIP_OCCUPANCY_CHECK);
    unsigned seen = 0;
    for (int i = 0; i < COUNT; i++) {
        uint16_t number = 0;
        if (i % 2 == 0) {
            MUST(trop_port(five, NULL, &number, &error));
        } else {
            trop_lease_handle *lease;
            MUST(trop_lease(five, NULL, &lease, &error));
            number = trop_lease_port(lease);
            CHECK(trop_lease_forget(lease) == 1);
        }
        seen |= 1u << (number - FIRST);
    }
    CHECK(seen == 0x1f);
    trop_registry_forget(five);
    uint16_t number = 1;
    CHECK_ERROR(trop_port(again, NULL, &number, &error), TROP_ERR_EXHAUSTED, NULL);
    CHECK(number == 0);
    CHECK_ERROR(fails_to_lease(again, NULL), TROP_ERR_EXHAUSTED, NULL);
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.label = "bare";
    options.port = FIRST + COUNT;
    options.max = FIRST + COUNT;
    MUST(trop_port(again, &options, &number, &error));
    CHECK(number == FIRST + COUNT && listed("\"label\":\"bare\"") == 1);
    CHECK_ERROR(trop_port(again, NULL, NULL, &error), TROP_ERR_INVALID_ARGUMENT, "port");
    trop_lease_handle *closed;
    options.port = options.max = FIRST + COUNT + 1;
    MUST(trop_lease(again, &options, &closed, &error));
    trop_lease_close(closed);
    CHECK(trop_lease_forget(closed) == 0);
    trop_registry_free(again);
    CHECK(listed("\"label\":\"bare\"") == 0 && !is_free(FIRST));
}

static void of_more_than_256_forgotten_leases_the_oldest_end(void)
{
    enum { FIRST = 23210, LAST = 23609, COUNT = 300, LIMIT = 256 };
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.min = FIRST;
    options.max = LAST;
    int seen[LAST - FIRST + 1] = { 0 };
    uint16_t ports[COUNT];
    for (int i = 0; i < COUNT; i++) {
        trop_lease_handle *lease = leased(&options);
        ports[i] = trop_lease_port(lease);
        CHECK(++seen[ports[i] - FIRST] == 1);
        CHECK(trop_lease_forget(lease) == 1);
    }
    CHECK(is_free(ports[0]) && is_free(ports[COUNT - LIMIT - 1]));
    CHECK(!is_free(ports[COUNT - LIMIT]) && !is_free(ports[COUNT - 1]));
}

int main(void)
{
    begin();
    a_lease_is_the_lowest_port_and_comes_back();
    options_choose_the_port();
    several_ports_or_none();
    closing_the_registry_ends_its_leases();
    who_has_a_port();
    bad_input_for_sockets();
    trop_registry *probing = opened(23100, 23199, 0);
    sockets_on_the_port(probing);
    the_backlog_counts(probing);
    a_port_can_be_held(probing);
    trop_registry_free(probing);
    threads_share_a_registry_and_a_lease();
    a_number_outlives_its_handle();
    of_more_than_256_forgotten_leases_the_oldest_end();
    return end();
}
