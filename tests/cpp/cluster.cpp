// The C++ wrapper on a cluster.
#include <rs_script.hpp>

#include <thread>

#include "support/check.h"
#include "support/cluster.h"

static cluster three;
static constexpr std::string_view port_lua = "return tonumber(redis.call('INFO', 'server'):match('tcp_port:(%d+)'))";

// One on each node, in their order.
static constexpr std::string_view key_on[CLUSTER_NODES] = {"hello", "c", "foo"};

static int port_of(int node) { return server_port(three.nodes[node]); }

static rs::CallOptions to(const rs::Route &route) {
    rs::CallOptions options;
    options.route = route;
    return options;
}

static void calls_and_routes() {
    rs::Client client(three.url);
    rs::Script port(client, port_lua);
    char address[24];
    rs::CallOptions reading;
    reading.read_only = true;
    for (int i = 0; i < CLUSTER_NODES; ++i) {
        CHECK_INT(port.call({key_on[i]}, {}).integer(), port_of(i));
        CHECK_INT(port.call({key_on[i]}, {}, reading).integer(), port_of(i));
        for (const rs::Route &route : {rs::Route::key(key_on[i]), rs::Route::slot(std::uint16_t(i * 16383 / 2)),
                                       rs::Route::node(cluster_address(&three, i, address))}) {
            CHECK_INT(port.call({}, {}, to(route)).integer(), port_of(i));
            CHECK_INT(port.call(client.with(to(route)), {}, {}).integer(), port_of(i));
            CHECK_INT(client.pipeline().script(port, {}, {}).exec(to(route))[0].integer(), port_of(i));
        }
    }
    const rs::Reply everyone = port.call({}, {}, to(rs::Route::all()));
    CHECK(everyone.type() == RS_REPLY_MAP && everyone.size() == 2 * CLUSTER_NODES);
    for (std::size_t i = 0; i < everyone.size(); i += 2)
        CHECK(everyone[i].string() == "127.0.0.1:" + std::to_string(everyone[i + 1].integer()));

    CHECK_INT(client.try_command({"FLUSHALL"}).error().status(), RS_ERR_NO_ROUTE);
    CHECK_INT(port.try_call({}, {}, to(rs::Route::node("192.0.2.1:6379"))).error().status(), RS_ERR_NO_ROUTE);
    reading.read_from = RS_READ_FROM_REPLICA;
    CHECK_INT(port.try_call({"foo"}, {}, reading).error().status(), RS_ERR_CONNECT);
    const rs::Error error = port.try_call({"foo", "bar"}, {}).error();
    CHECK(error.status() == RS_ERR_CROSS_SLOT && error.is_not_executed());
    CHECK_HOLDS(error.what(), "\"foo\"");
    CHECK_HOLDS(error.what(), "\"bar\"");
}

static void pipelines_and_transactions() {
    rs::Client client(three.url);
    rs::Script port(client, port_lua);
    rs::Pipeline pipeline = client.pipeline();
    for (int i = 0; i < 90; ++i) pipeline.script(port, {key_on[i % 3]}, {}).command({"SET", key_on[i % 3], "1"});
    const rs::Reply replies = pipeline.exec();
    CHECK_INT(replies.size(), 180);
    for (int i = 0; i < 90; ++i) {
        CHECK_INT(replies[2 * i].integer(), port_of(i % 3));
        CHECK(replies[2 * i + 1].string() == "OK");
    }
    rs::Pipeline transaction = client.transaction();
    transaction.command({"SET", "{foo}1", "5"}).script(port, {"{foo}2"}, {});
    CHECK_INT(transaction.try_script(port, {"bar"}, {}).error().status(), RS_ERR_CROSS_SLOT);
    CHECK_INT(transaction.exec()[1].integer(), port_of(2));
}

static void administration() {
    rs::Client client(three.url);
    rs::Script script(client, port_lua);
    client.script_load(script);
    CHECK(client.script_exists({script.sha()})[0]);
    client.command({"SCRIPT", "FLUSH"}, to(rs::Route::key("foo")));
    CHECK(!client.script_exists({script.sha()})[0]);
    CHECK_INT(script.call({"foo"}, {}).integer(), port_of(2));
    client.script_flush();
    CHECK(client.try_script_kill().error().server_code() == "NOTBUSY");
}

static void threads() {
    rs::Client client(three.url);
    rs::Script port(client, port_lua);
    std::vector<std::thread> threads;
    for (int id = 0; id < 4; ++id)
        threads.emplace_back([&, id] {
            for (int i = id; i < 150 + id; ++i) CHECK_INT(port.call({key_on[i % 3]}, {}).integer(), port_of(i % 3));
        });
    for (std::thread &thread : threads) thread.join();
}

int main() {
    three = cluster_start();
    RUN(calls_and_routes);
    RUN(pipelines_and_transactions);
    RUN(administration);
    RUN(threads);
}
