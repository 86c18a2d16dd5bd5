/* Signals: none is raised by the library, and calls go on when others interrupt them. */
#include <signal.h>
#include <sys/time.h>

#include "support/check.h"
#include "support/server.h"

static volatile sig_atomic_t alarms, left;

/* One millisecond from now. */
static void set_alarm(void) {
    const struct itimerval soon = {{0, 0}, {0, 1000}};
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
}

/* The next comes only after this one, and so many in a row: however slow the program is, it gets on in between. */
static void count(int signal) {
    (void)signal;
    alarms++;
    if (left > 0) {
        left--;
        set_alarm();
    }
}

/* With the default action a SIGPIPE ends this program, and the test with it. */
static void no_sigpipe_when_the_server_dies(void) {
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    server *mortal = server_start();
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    CHECK_OK(rs_options_set_reconnect_backoff_ms(options, 1, 1, &err));
    CHECK_OK(rs_client_open(server_url(mortal), options, &client, &err));
    rs_options_free(options);
    const char *ping[] = {"PING"};
    do_command(client, "PING", NULL);
    server_stop(mortal);
    for (int i = 0; i < 3; i++) {
        const rs_status status = rs_client_command(client, 1, ping, NULL, NULL, NULL, NULL);
        CHECK(status == RS_ERR_CONNECT || status == RS_ERR_INDETERMINATE);
    }
    rs_client_free(client);
}

/* Without SA_RESTART every wait is cut short, time and again. */
static void a_storm_of_signals(void) {
    enum { ALARMS_MIN = 200, IN_A_ROW = 5, ARGUMENT = 1 << 20 };
    const struct itimerval calm = {{0, 0}, {0, 0}};
    struct sigaction action = {0};
    server *redis = server_start();
    rs_client *client = open_client(server_tcp_url(redis));
    const char lua[] = "for i = 1, 20000 do local x = i end return #ARGV[1]";
    rs_script *script = NULL;
    char *big = malloc(ARGUMENT);
    const char *args[] = {big};
    const size_t lens[] = {ARGUMENT};
    CHECK(big != NULL);
    memset(big, 'x', ARGUMENT);
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    action.sa_handler = count;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (int i = 0; alarms < ALARMS_MIN; i++) {
        rs_reply *reply = NULL;
        if (left == 0) {
            left = IN_A_ROW;
            set_alarm();
        }
        CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 1, args, lens, NULL, &reply, &err));
        CHECK_INT(rs_reply_integer(reply), ARGUMENT);
        rs_reply_free(reply);
        if (i % 16 == 0) { /* connecting is interrupted as well */
            rs_client *another = open_client(server_tcp_url(redis));
            do_command(another, "PING", NULL);
            rs_client_free(another);
        }
    }
    left = 0;
    CHECK(setitimer(ITIMER_REAL, &calm, NULL) == 0);
    CHECK_INT(stat_of(client, RS_STAT_RECONNECTS), 0);
    /* The handler is still the one that was installed. */
    struct sigaction now;
    CHECK(sigaction(SIGALRM, NULL, &now) == 0 && now.sa_handler == count);
    CHECK(sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    free(big);
    rs_script_free(script);
    rs_client_free(client);
}

int main(void) {
    RUN(no_sigpipe_when_the_server_dies);
    RUN(a_storm_of_signals);
}
