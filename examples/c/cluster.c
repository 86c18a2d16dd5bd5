// What scripts/demo --cluster shows: scripts, a pipeline over all shards, a transaction, read-only calls on replicas
// and a failover in mid-run, behind which a function is there that nobody has deployed, and what each call saw.
//
//     cluster URL
//
// It sets the keys {berlin}visits, {paris}visits, ... and empties the script caches. When it says so on its last but
// one line, and only then, somebody kills the primary that it names.
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *bold = "", *plain = "";

static const char *const cities[] = {"berlin", "paris", "lima", "oslo", "cairo", "quito"};
enum { CITIES = sizeof cities / sizeof cities[0] };

static void title(const char *text) {
    printf("\n%s%s%s\n", bold, text, plain);
}

static void check(rs_status status, rs_error **err) {
    if (status != RS_OK) {
        fprintf(stderr, "cluster: %s: %s\n", rs_status_name(status), rs_error_message(*err));
        exit(1);
    }
}

static void expect(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "cluster: this does not hold: %s\n", what);
        exit(1);
    }
}

static uint64_t stat(rs_client *client, size_t which) {
    uint64_t values[RS_STAT_COUNT];
    rs_client_stats(client, values, RS_STAT_COUNT);
    return values[which];
}

static const char *key_of(const char *city, const char *what) {
    static char keys[2][64];
    static size_t turn;
    char *key = keys[turn++ % 2];
    snprintf(key, sizeof keys[0], "{%s}%s", city, what);
    return key;
}

static int64_t count(const rs_script *script, rs_client *client, const char *city, bool read_only) {
    const char *keys[] = {key_of(city, "visits")}, *args[] = {"1"};
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    check(read_only ? rs_script_call(script, client, 1, keys, NULL, 0, NULL, NULL,
                                     RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY), &reply, &err)
                    : rs_script_call(script, client, 1, keys, NULL, 1, args, NULL, NULL, &reply, &err),
          &err);
    int64_t value = rs_reply_integer(reply);
    rs_reply_free(reply);
    return value;
}

// Each key's script runs where the key is; a server that lacks the script is sent it in the same write.
static void calls(rs_client *client, const rs_script *visit) {
    title("Script calls go where their keys are");
    for (size_t i = 0; i < CITIES; i++) {
        uint64_t loads = stat(client, RS_STAT_SCRIPT_LOADS);
        int64_t value = count(visit, client, cities[i], false);
        loads = stat(client, RS_STAT_SCRIPT_LOADS) - loads;
        printf("  {%s}visits %-*s %" PRId64 "%s\n", cities[i], (int)(8 - strlen(cities[i])), "", value, loads ? "    SCRIPT LOAD and EVALSHA in one write" : "    EVALSHA");
        expect(value == 1, "the first visit is number 1");
    }

    const char *keys[] = {"{berlin}visits", "{paris}visits"};
    rs_error *err = NULL;
    rs_status status = rs_script_call(visit, client, 2, keys, NULL, 0, NULL, NULL, NULL, NULL, &err);
    printf("  keys of two slots: %s\n    %s\n", rs_status_name(status), rs_error_message(err));
    expect(status == RS_ERR_CROSS_SLOT, "two slots are refused");
    rs_error_free(err);
}

static void pipeline(rs_client *client, const rs_script *visit, uint32_t flags, size_t number) {
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    rs_error *err = NULL;
    uint64_t trips = stat(client, RS_STAT_ROUND_TRIPS);
    check(rs_pipeline_new(client, flags, &pipeline, &err), &err);
    for (size_t i = 0; i < number; i++) {
        const char *set[] = {"SET", key_of(cities[i], "visits"), "41"}, *args[] = {"1"};
        check(rs_pipeline_command(pipeline, 3, set, NULL, NULL, &err), &err);
        const char *keys[] = {key_of(cities[i], "visits")};
        check(rs_pipeline_script(pipeline, visit, 1, keys, NULL, 1, args, NULL, NULL, &err), &err);
    }
    check(rs_pipeline_exec(pipeline, NULL, &replies, &err), &err);
    printf("  replies in order:");
    for (size_t i = 0; i < rs_reply_len(replies); i++) {
        const rs_reply *reply = rs_reply_element(replies, i);
        if (i % 2 == 0)
            printf(" %s", rs_reply_string(reply, NULL));
        else
            printf(" %" PRId64, rs_reply_integer(reply));
        expect(i % 2 == 0 || rs_reply_integer(reply) == 42, "each script sees the SET in front of it");
    }
    trips = stat(client, RS_STAT_ROUND_TRIPS) - trips;
    printf("    %" PRIu64 " write%s\n", trips, trips == 1 ? "" : "s, one to each primary");
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
}

static void administration(rs_client *client, const rs_script *visit) {
    title("Script administration speaks to all primaries");
    const char *sha = rs_script_sha(visit);
    bool exists = false;
    rs_error *err = NULL;
    check(rs_client_script_exists(client, 1, &sha, NULL, &exists, &err), &err);
    printf("  SCRIPT EXISTS, on every primary?  %s\n", exists ? "yes" : "no");
    expect(exists, "all primaries have the script by now");
    check(rs_client_script_flush(client, RS_FLUSH_SYNC, &err), &err);
    check(rs_client_script_exists(client, 1, &sha, NULL, &exists, &err), &err);
    printf("  after SCRIPT FLUSH on all         %s\n", exists ? "yes" : "no");
    expect(!exists, "no primary has the script after a flush");

    rs_client *all = NULL;
    rs_reply *sizes = NULL;
    const char *dbsize[] = {"DBSIZE"};
    check(rs_client_with(client, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), &all, &err), &err);
    check(rs_client_command(all, 1, dbsize, NULL, NULL, &sizes, &err), &err);
    printf("  DBSIZE of each:");
    for (size_t i = 0; i + 1 < rs_reply_len(sizes); i += 2)
        printf("  %s: %" PRId64, rs_reply_string(rs_reply_element(sizes, i), NULL), rs_reply_integer(rs_reply_element(sizes, i + 1)));
    printf("\n");
    rs_reply_free(sizes);
    rs_client_free(all);
}

static void replicas(rs_client *client, const rs_script *look) {
    title("Read-only calls run on replicas, if they are asked to");
    rs_client *readers = NULL;
    rs_error *err = NULL;
    check(rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA), &readers, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        // The write may still be on its way to the replica.
        int64_t value = 0;
        for (int tries = 0; tries < 500 && value != 42; tries++) value = count(look, readers, cities[i], true);
        printf("  {%s}visits on a replica: %" PRId64 "\n", cities[i], value);
        expect(value == 42, "the replica has what its primary had");
    }
    rs_client_free(readers);
}

// A function on the server that is about to die, and on the one that takes its place.
static void call_function(rs_client *client, const rs_script *visit, const char *when) {
    const char *keys[] = {key_of("berlin", "function")};
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    check(rs_script_call(visit, client, 1, keys, NULL, 0, NULL, NULL, NULL, &reply, &err), &err);
    printf("  the function %s, %s: %" PRId64 "\n", rs_script_function_name(visit), when, rs_reply_integer(reply));
    // What the old primary did at the end may be lost with it: that is the server's.
    expect(rs_reply_integer(reply) >= 1, "the function has run");
    rs_reply_free(reply);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// One call after the other while the primary of {berlin} dies and a replica takes its place.
static void failover(rs_client *client, const rs_script *visit) {
    title("A failover in mid-run");
    const char *keys[] = {key_of("berlin", "failover")}, *args[] = {"1"};
    uint64_t calls = 0, done = 0, unknown = 0, not_run = 0;
    double longest = 0, start = now();
    int64_t last = 0;
    printf("  one call after the other on {berlin}failover; now somebody kills its primary\n");
    fflush(stdout);
    for (uint64_t after = 0; after < 1000; calls++) {
        rs_reply *reply = NULL;
        rs_error *err = NULL;
        double before = now();
        rs_status status = rs_script_call(visit, client, 1, keys, NULL, 1, args, NULL, NULL, &reply, &err);
        double took = now() - before;
        if (took > longest) longest = took;
        if (status == RS_OK) {
            done++;
            last = rs_reply_integer(reply);
            if (longest > 0.3) after++;
        } else {
            printf("  call %" PRIu64 ": %s: %s\n", calls, rs_status_name(status), rs_error_message(err));
            unknown += rs_error_is_indeterminate(err);
            not_run += rs_error_is_not_executed(err);
        }
        rs_reply_free(reply);
        rs_error_free(err);
        expect(now() - start < 30, "a replica takes over within 30 seconds");
    }
    printf("  %" PRIu64 " calls: %" PRIu64 " done, %" PRIu64 " whose outcome is unknown, %" PRIu64 " certainly not run\n", calls, done,
           unknown, not_run);
    printf("  the longest took %.1f s, and waited for the failover; the counter is at %" PRId64 "\n", longest, last);
    // A call that the old primary answered may be lost with it, before a replica heard of it: that is the server's.
    expect((uint64_t)last <= done + unknown, "nothing ran twice");
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: cluster URL\n");
        return 2;
    }
    if (isatty(1) && getenv("NO_COLOR") == NULL) bold = "\033[1m", plain = "\033[0m";
    rs_client *client = NULL;
    rs_script *visit = NULL, *look = NULL, *function = NULL;
    rs_library *library = NULL;
    rs_error *err = NULL;
    const char *functions = "#!lua name=cities\n"
                            "redis.register_function('visit', function(keys) return redis.call('INCR', keys[1]) end)";
    const char *lua = "return redis.call('INCRBY', KEYS[1], ARGV[1])", *lua_ro = "return tonumber(redis.call('GET', KEYS[1]))";
    check(rs_client_open(argv[1], NULL, &client, &err), &err);
    check(rs_script_register(client, lua, strlen(lua), NULL, &visit, &err), &err);
    check(rs_script_register(client, lua_ro, strlen(lua_ro), NULL, &look, &err), &err);

    check(rs_library_register(client, functions, strlen(functions), NULL, &library, &err), &err);
    check(rs_library_function(library, "visit", strlen("visit"), NULL, &function, &err), &err);

    calls(client, visit);
    title("A pipeline over all shards");
    pipeline(client, visit, 0, CITIES);
    title("A transaction: one slot, one server");
    pipeline(client, visit, RS_PIPELINE_ATOMIC, 1);
    administration(client, visit);
    replicas(client, look);
    title("A function, which nobody deploys");
    call_function(client, function, "for the first time");
    failover(client, visit);
    call_function(client, function, "on the new primary");

    rs_script_free(function);
    rs_library_free(library);
    rs_script_free(look);
    rs_script_free(visit);
    rs_client_free(client);
    return 0;
}
