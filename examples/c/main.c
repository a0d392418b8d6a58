/* A TCP server on a port that belongs to this directory: reserves it, listens, connects to itself once and
 * gives it back. Then one on a port that is leased, which no other program gets while this one runs. */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <trop.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Ends the program with the error's message unless the call succeeded. */
static void check(int32_t status, trop_error **error)
{
    if (status != TROP_OK) {
        fprintf(stderr, "%s: %s\n", trop_error_name(*error), trop_error_message(*error));
        trop_error_free(*error);
        exit(1);
    }
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Listens on the port of 127.0.0.1 and accepts one connection, which it makes itself. */
static void serve_once(uint16_t port)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    int server = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1; /* else a restart would fail while old connections are in TIME_WAIT */
    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0
        || bind(server, (struct sockaddr *)&address, sizeof(address)) != 0
        || listen(server, 8) != 0)
        fail("listen");
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) != 0)
        fail("connect");
    int connection = accept(server, NULL, NULL);
    if (connection < 0)
        fail("accept");
    close(client);
    close(connection);
    close(server);
}

/* Listens on a port that belongs to this program alone, until it is freed or the program ends in any way. */
static void serve_on_a_lease(trop_registry *registry)
{
    trop_error *error = NULL;
    trop_lease_options options = TROP_LEASE_OPTIONS_INIT;
    options.label = "c-example";
    trop_lease_handle *lease = NULL;
    check(trop_lease(registry, &options, &lease, &error), &error);
    int64_t server;
    check(trop_lease_listen(lease, NULL, -1, &server, &error), &error);
    check(trop_lease_wait_listening(lease, -1, &error), &error);
    printf("C TCP server on port %d, which is leased\n", trop_lease_port(lease));
    close((int)server);
    trop_lease_free(lease); /* gives the port back too */
}

int main(int argc, char **argv)
{
    /* With --keep the next run gets the same port. */
    int keep = argc == 2 && strcmp(argv[1], "--keep") == 0;
    if (argc > 1 && !keep) {
        fprintf(stderr, "usage: %s [--keep]\n", argv[0]);
        return 2;
    }

    trop_error *error = NULL;
    trop_registry *registry = NULL;
    check(trop_open(NULL, &registry, &error), &error);

    trop_reserve_options reserve = TROP_RESERVE_OPTIONS_INIT;
    reserve.tag = "c-example";
    trop_reservation *reservation = NULL;
    double start = milliseconds();
    check(trop_reserve(registry, &reserve, &reservation, &error), &error);
    double took = milliseconds() - start;
    uint16_t port = trop_reservation_port(reservation);
    trop_reservation_free(reservation); /* only the memory: the port stays reserved */

    serve_once(port);
    printf("C TCP server on port %d reserved in %.2f ms\n", port, took);

    if (!keep) {
        trop_release_options release = TROP_RELEASE_OPTIONS_INIT;
        release.tag = "c-example";
        check(trop_release(registry, &release, NULL, &error), &error);
    }
    serve_on_a_lease(registry);
    trop_registry_free(registry);
    return 0;
}
