/* Checks that end the test program with the place and the values when they fail. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is NULL by mistake is passed on purpose here. (The C++ headers have read it by now, and pass no NULL.) */
#ifndef __cplusplus
#define RS_NOT_NULL(parameter)
#endif
#include <rs_script.h>

#define READ_ONLY RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY)
#define TO_KEY(key, len) RS_CALL_OPTIONS(.route = RS_ROUTE_KEY, .route_to = (key), .route_len = (len))
#define TO_SLOT(slot) RS_CALL_OPTIONS(.route = RS_ROUTE_SLOT, .route_slot = (slot))
#define TO_NODE(node) RS_CALL_OPTIONS(.route = RS_ROUTE_NODE, .route_to = (node), .route_len = strlen(node))

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        exit(1);                                                                                                       \
    } while (0)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) FAIL("not true: %s", #condition);                                                            \
    } while (0)

#define CHECK_INT(got, want)                                                                                           \
    do {                                                                                                               \
        const intmax_t check_got = (intmax_t)(got), check_want = (intmax_t)(want);                                     \
        if (check_got != check_want) FAIL("%s is %jd, want %jd", #got, check_got, check_want);                         \
    } while (0)

#define CHECK_NULL(got)                                                                                                \
    do {                                                                                                               \
        const void *check_got = (got);                                                                                 \
        if (check_got != NULL) FAIL("%s is %p, want NULL", #got, check_got);                                           \
    } while (0)

#define CHECK_TEXT(got, want)                                                                                          \
    do {                                                                                                               \
        const char *check_got = (got), *check_want = (want);                                                           \
        if (check_got == NULL || strcmp(check_got, check_want) != 0)                                                   \
            FAIL("%s is \"%s\", want \"%s\"", #got, check_got ? check_got : "NULL", check_want);                       \
    } while (0)

/* That a text holds another. */
#define CHECK_HOLDS(got, part)                                                                                         \
    do {                                                                                                               \
        const char *check_got = (got), *check_part = (part);                                                           \
        if (check_got == NULL || strstr(check_got, check_part) == NULL)                                                \
            FAIL("%s is \"%s\", which lacks \"%s\"", #got, check_got ? check_got : "NULL", check_part);                \
    } while (0)

/* That a reply is a string, status, error, ... of these bytes. */
#define CHECK_BYTES(reply, want, want_len)                                                                             \
    do {                                                                                                               \
        size_t check_len = 0, check_want_len = (want_len);                                                             \
        const char *check_bytes = rs_reply_string(reply, &check_len);                                                  \
        if (check_bytes == NULL) FAIL("%s is no string but of type %d", #reply, (int)rs_reply_type(reply));            \
        if (check_len != check_want_len || memcmp(check_bytes, want, check_len) != 0)                                  \
            FAIL("%s is %zu bytes \"%s\", want %zu", #reply, check_len, check_bytes, check_want_len);                  \
    } while (0)

#define CHECK_STRING(reply, want) CHECK_BYTES(reply, want, strlen(want))

/* That a call succeeded and left no error. */
#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        rs_error *err = (rs_error *)&err; /* an output must be set */                                                  \
        const rs_status check_status = (call);                                                                         \
        if (check_status != RS_OK)                                                                                     \
            FAIL("%s: %s: %s", #call, rs_status_name(check_status), rs_error_message(err));                            \
        CHECK_NULL(err);                                                                                               \
    } while (0)

/* That a call failed with this status, and the error says the same and holds this text. */
#define CHECK_FAILS(want, part, call)                                                                                  \
    do {                                                                                                               \
        rs_error *err = NULL;                                                                                          \
        const rs_status check_status = (call);                                                                         \
        if (check_status != (want))                                                                                    \
            FAIL("%s: %s, want %s: %s", #call, rs_status_name(check_status), rs_status_name(want),                     \
                 rs_error_message(err));                                                                               \
        CHECK_INT(rs_error_status(err), want);                                                                         \
        CHECK_HOLDS(rs_error_message(err), part);                                                                      \
        rs_error_free(err);                                                                                            \
    } while (0)

/* How often to do what may go wrong by chance: less often where a tool makes all of it slow. By no clock, so that
   every run does the same. */
static inline int often(int usual, int slow) { return getenv("RS_SCRIPT_SLOW") == NULL ? usual : slow; }

/* Runs a test of this program and says so. */
#define RUN(test)                                                                                                      \
    do {                                                                                                               \
        fprintf(stderr, "%s\n", #test);                                                                                \
        test();                                                                                                        \
    } while (0)

/* Waits until a condition holds; a minute is far beyond what any takes. */
#define WAIT_UNTIL(condition)                                                                                          \
    do {                                                                                                               \
        int check_left = 60000;                                                                                        \
        while (!(condition)) {                                                                                         \
            if (check_left-- == 0) FAIL("never came true: %s", #condition);                                            \
            pause_ms(1);                                                                                               \
        }                                                                                                              \
    } while (0)

#endif
