/* What the flags of trop_open that switch probes mean: a port that something holds is given out or not. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKETS 4

static const struct kind {
    int family;
    int type;
    const char *name;
} kinds[SOCKETS] = {
    { AF_INET, SOCK_STREAM, "TCP over IPv4" },
    { AF_INET, SOCK_DGRAM, "UDP over IPv4" },
    { AF_INET6, SOCK_STREAM, "TCP over IPv6" },
    { AF_INET6, SOCK_DGRAM, "UDP over IPv6" },
};

/* A socket bound to the port (0: any) of a loopback address; a negative number if it cannot be had. */
static int bound(struct kind kind, const char *address, uint16_t *port)
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    memset(&ipv4, 0, sizeof(ipv4));
    memset(&ipv6, 0, sizeof(ipv6));
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(*port);
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = htons(*port);
    int is_ipv4 = kind.family == AF_INET;
    struct sockaddr *name = is_ipv4 ? (struct sockaddr *)&ipv4 : (struct sockaddr *)&ipv6;
    socklen_t size = is_ipv4 ? sizeof(ipv4) : sizeof(ipv6);
    inet_pton(kind.family, address, is_ipv4 ? (void *)&ipv4.sin_addr : (void *)&ipv6.sin6_addr);

    int held = socket(kind.family, kind.type, 0);
    if (held < 0 || bind(held, name, size) != 0 || getsockname(held, name, &size) != 0) {
        if (held >= 0)
            close(held);
        return -1;
    }
    *port = ntohs(is_ipv4 ? ipv4.sin_port : ipv6.sin6_port);
    return held;
}

static const char *loopback(struct kind kind)
{
    return kind.family == AF_INET ? "127.0.0.1" : "::1";
}

/* A port that nothing holds in any of the ways that this machine has. */
static uint16_t free_port(size_t ways)
{
    for (;;) {
        uint16_t port = 0;
        int held[SOCKETS];
        size_t count = 0;
        while (count < ways && (held[count] = bound(kinds[count], loopback(kinds[count]), &port)) >= 0)
            count++;
        for (size_t i = 0; i < count; i++)
            close(held[i]);
        if (count == ways)
            return port;
    }
}

/* What asking for the only port of the range comes to. */
static int32_t ask_for(uint16_t port, uint32_t flags)
{
    trop_error *error = NULL;
    trop_registry *registry;
    trop_open_options open = TROP_OPEN_OPTIONS_INIT;
    open.flags = flags;
    open.ports_min = open.ports_max = port;
    MUST(trop_open(&open, &registry, &error));
    trop_reservation *reservation;
    int32_t status = trop_reserve(registry, NULL, &reservation, NULL);
    trop_reservation_free(reservation);
    MUST(trop_release(registry, NULL, NULL, &error));
    trop_registry_free(registry);
    return status;
}

static void check_flags(uint16_t port, uint32_t flags, int32_t expected, const char *what)
{
    int32_t status = ask_for(port, flags);
    if (status != expected) {
        printf("%s: port %d with the flags %u gives %d instead of %d\n", what, port, (unsigned)flags, (int)status,
               (int)expected);
        failures++;
    }
}

/* A socket is met by its own kind of probe, and by no other. */
static void each_flag_skips_its_own_probes(size_t ways)
{
    for (size_t i = 0; i < ways; i++) {
        struct kind kind = kinds[i];
        int is_tcp = kind.type == SOCK_STREAM, is_ipv4 = kind.family == AF_INET;
        uint16_t port = free_port(ways);
        int held = bound(kind, loopback(kind), &port);
        CHECK(held >= 0);
        check_flags(port, 0, TROP_ERR_EXHAUSTED, kind.name);
        check_flags(port, TROP_SKIP_OCCUPANCY_CHECK, TROP_OK, kind.name);
        check_flags(port, TROP_SKIP_TCP, is_tcp ? TROP_OK : TROP_ERR_EXHAUSTED, kind.name);
        check_flags(port, TROP_SKIP_UDP, is_tcp ? TROP_ERR_EXHAUSTED : TROP_OK, kind.name);
        check_flags(port, TROP_SKIP_IPV4, is_ipv4 ? TROP_OK : TROP_ERR_EXHAUSTED, kind.name);
        check_flags(port, TROP_SKIP_IPV6, is_ipv4 ? TROP_ERR_EXHAUSTED : TROP_OK, kind.name);
        close(held);
        check_flags(port, 0, TROP_OK, kind.name);
    }
}

static void other_addresses_count_for_all_interfaces(size_t ways)
{
    uint16_t port = free_port(ways);
    int held = bound(kinds[0], "127.0.0.2", &port);
    if (held < 0)
        return; /* some systems have no second loopback address */
    check_flags(port, 0, TROP_OK, "127.0.0.2");
    check_flags(port, TROP_CHECK_ALL_INTERFACES, TROP_ERR_EXHAUSTED, "127.0.0.2");
    close(held);
}

int main(void)
{
    uint16_t any = 0;
    int ipv6 = bound(kinds[SOCKETS - 1], loopback(kinds[SOCKETS - 1]), &any);
    size_t ways = ipv6 < 0 ? 2 : SOCKETS;
    if (ipv6 >= 0)
        close(ipv6);
    each_flag_skips_its_own_probes(ways);
    other_addresses_count_for_all_interfaces(ways);
    return failures != 0;
}
