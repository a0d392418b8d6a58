/*
 * The lower limit for a whole program that reserves a port: plain SQLite, one transaction and
 * four bind probes, and no argument parsing, configuration, names from git or checks.
 *
 *   least DATABASE PORT          inserts a row into an existing registry
 *   least DATABASE PORT delete   takes it away
 *
 * It uses the SQLite inside libtrop.a.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct sqlite3 sqlite3;
int sqlite3_open(const char *file, sqlite3 **database);
int sqlite3_exec(sqlite3 *database, const char *sql, void *callback, void *argument, char **message);
const char *sqlite3_errmsg(sqlite3 *database);
int sqlite3_close(sqlite3 *database);

static int probe(int family, int type, unsigned short port)
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    int bound, probe = socket(family, type, 0);
    if (family == AF_INET) {
        memset(&ipv4, 0, sizeof ipv4);
        ipv4.sin_family = AF_INET;
        ipv4.sin_port = htons(port);
        ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        bound = bind(probe, (struct sockaddr *)&ipv4, sizeof ipv4);
    } else {
        memset(&ipv6, 0, sizeof ipv6);
        ipv6.sin6_family = AF_INET6;
        ipv6.sin6_port = htons(port);
        ipv6.sin6_addr = in6addr_loopback;
        bound = bind(probe, (struct sockaddr *)&ipv6, sizeof ipv6);
    }
    close(probe);
    return bound == 0;
}

int main(int count, char **arguments)
{
    char change[200];
    sqlite3 *database = NULL;
    unsigned short port;
    if (count < 3)
        return 2;
    port = (unsigned short)atoi(arguments[2]);
    if (count > 3)
        snprintf(change, sizeof change, "DELETE FROM reservations WHERE port = %d", port);
    else
        snprintf(change, sizeof change,
                 "INSERT INTO reservations VALUES ('/least', '%d', %d, 'p', 't', 1, 1)", port, port);
    if (sqlite3_open(arguments[1], &database) != 0
        || sqlite3_exec(database, "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE", NULL, NULL, NULL) != 0
        || (count == 3 && (!probe(AF_INET, SOCK_STREAM, port) || !probe(AF_INET, SOCK_DGRAM, port)
                           || !probe(AF_INET6, SOCK_STREAM, port) || !probe(AF_INET6, SOCK_DGRAM, port)))
        || sqlite3_exec(database, change, NULL, NULL, NULL) != 0
        || sqlite3_exec(database, "COMMIT", NULL, NULL, NULL) != 0) {
        fprintf(stderr, "least: %s\n", sqlite3_errmsg(database));
        return 1;
    }
    printf("%d\n", port);
    return sqlite3_close(database);
}
