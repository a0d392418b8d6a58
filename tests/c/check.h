/* Assertions for the C tests: each failed one is printed, and the program's exit status tells whether any
 * failed. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <trop.h>

static int failures;

#define CHECK(condition) check(condition, #condition, __FILE__, __LINE__)

/* The call fails with this code, and its error object names this argument (NULL for none). */
#define CHECK_ERROR(call, code, argument) \
    check_error((call), (code), (argument), &error, #call, __FILE__, __LINE__)

/* The call succeeds; else the program ends, because the rest depends on it. */
#define MUST(call) must((call), error, #call, __FILE__, __LINE__)

static inline void check(int condition, const char *text, const char *file, int line)
{
    if (!condition) {
        printf("%s:%d: %s\n", file, line, text);
        failures++;
    }
}

static inline int same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static inline void check_error(int32_t status, int32_t code, const char *argument, trop_error **error,
                               const char *text, const char *file, int line)
{
    const char *message = trop_error_message(*error);
    int as_expected = status == code && trop_error_code(*error) == code && message != NULL && *message != '\0'
        && same_text(trop_error_argument(*error), argument);
    if (!as_expected) {
        const char *found = trop_error_argument(*error);
        printf("%s:%d: %s: status %d, code %d, argument %s, message %s\n", file, line, text, (int)status,
               (int)trop_error_code(*error), found == NULL ? "none" : found, message == NULL ? "none" : message);
        failures++;
    }
    trop_error_free(*error);
    *error = NULL;
}

static inline void must(int32_t status, trop_error *error, const char *text, const char *file, int line)
{
    if (status != TROP_OK || error != NULL) {
        const char *message = trop_error_message(error);
        printf("%s:%d: %s: %s\n", file, line, text, message == NULL ? "no message" : message);
        exit(1);
    }
}

#endif
