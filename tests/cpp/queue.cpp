// The C++ wrapper of the completion queue: ownership, every form of submitting, completions and errors.
#include <rs_script.hpp>

#include <poll.h>

#include <cstdlib>
#include <map>
#include <new>
#include <thread>
#include <type_traits>

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

using namespace std::chrono_literals;

// The library has an allocator of its own.
static thread_local bool lacks_memory = false;
static thread_local int allocations_left = -1; // below 0: no end of them
void *operator new(std::size_t size) {
    if (allocations_left == 0) lacks_memory = true;
    if (allocations_left > 0) --allocations_left;
    void *memory = lacks_memory ? nullptr : std::malloc(size ? size : 1);
    if (!memory) throw std::bad_alloc();
    return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

static server *redis;
static constexpr std::string_view multiply_lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";

static_assert(!std::is_copy_constructible_v<rs::Queue> && std::is_nothrow_move_constructible_v<rs::Queue>);
static_assert(!std::is_copy_constructible_v<rs::Completion> && std::is_move_constructible_v<rs::Completion>);

// So many completions, by their tags.
static std::map<std::uint64_t, rs::Completion> take(const rs::Queue &queue, std::size_t count) {
    std::map<std::uint64_t, rs::Completion> taken;
    while (taken.size() < count) {
        std::vector<rs::Completion> some = queue.poll(count, 60s);
        CHECK(!some.empty());
        for (rs::Completion &done : some) {
            const std::uint64_t tag = done.tag();
            CHECK(taken.emplace(tag, std::move(done)).second);
        }
    }
    CHECK_INT(taken.size(), count);
    return taken;
}

static void every_form_of_submitting() {
    rs::Client client(server_url(redis));
    rs::Script multiply(client, multiply_lua), clientless(multiply_lua);
    rs::Queue queue(100);
    CHECK(queue.empty());
    client.submit(queue, 1, {"SET", "foo", "2"});
    multiply.submit(queue, 2, {"foo"}, {"5"});
    multiply.submit(client, queue, 3, {"foo"}, {"6"});
    rs::CallOptions reading;
    reading.read_only = true;
    multiply.submit(queue, 4, {"foo"}, {"7"}, reading);
    clientless.on(client).submit(queue, 5, {"foo"}, {"8"}, reading);
    rs::Pipeline pipeline = client.transaction();
    pipeline.command({"SET", "foo", "3"}).script(multiply, {"foo"}, {"5"});
    pipeline.submit(queue, 6);
    CHECK(pipeline.empty());
    multiply.submit(queue, 7, {"none"}, {"5"});
    std::map<std::uint64_t, rs::Completion> done = take(queue, 7);
    CHECK(done.at(1).reply().string() == "OK");
    CHECK_INT(done.at(2).reply().integer(), 10);
    CHECK_INT(done.at(3).reply().integer(), 12);
    CHECK_INT(done.at(4).reply().integer(), 14);
    CHECK_INT(done.at(5).reply().integer(), 16);
    CHECK_INT(done.at(6).reply()[1].integer(), 15);
    CHECK(!done.at(7).ok() && !done.at(7).arrived());
    CHECK_INT(done.at(7).status(), RS_ERR_SERVER);
    CHECK_INT(thrown_by([&] { done.at(7).reply(); }).status(), RS_ERR_SERVER);
    rs::Reply kept = std::move(done.at(2)).reply();
    done.clear();
    CHECK_INT(kept.integer(), 10);
    CHECK(queue.empty() && queue.poll(10, 0ms).empty());
}

static void what_is_refused() {
    rs::Client client(server_url(redis));
    rs::Script multiply(client, multiply_lua), clientless(multiply_lua);
    CHECK_INT(thrown_by([] { rs::Queue none(0); }).status(), RS_ERR_INVALID_ARGUMENT);
    rs::Queue queue(1), moved(std::move(queue));
    CHECK_INT(client.try_submit(queue, 1, {"PING"}).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(queue.try_poll(1, 0ms).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(queue.fd(), -1);
    CHECK_INT(moved.size(), 0);
    CHECK_INT(clientless.try_submit(moved, 1, {}, {}).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(client.pipeline().try_submit(moved, 1).error().status(), RS_ERR_INVALID_ARGUMENT);
    client.submit(moved, 1, {"PING"});
    CHECK_INT(client.try_submit(moved, 2, {"PING"}).error().status(), RS_ERR_QUEUE_FULL);
    CHECK_INT(multiply.try_submit(moved, 2, {"foo"}, {"5"}).error().status(), RS_ERR_QUEUE_FULL);
    CHECK(take(moved, 1).at(1).reply().string() == "PONG");
    const rs::Client gone(std::move(client));
    CHECK_INT(multiply.try_submit(client, moved, 2, {"foo"}, {"5"}).error().status(), RS_ERR_INVALID_ARGUMENT);
    gone.close();
    CHECK_INT(multiply.try_submit(moved, 2, {"foo"}, {"5"}).error().status(), RS_ERR_CLOSED);
    CHECK(moved.empty());
}

static void cancelling_and_closing() {
    rs::Queue queue(10);
    {
        rs::Client client(server_url(redis));
        client.submit(queue, 1, {"BLPOP", "none", "0"});
        CHECK_INT(client.cancel(queue, 2), 0);
        CHECK_INT(client.cancel(queue, 1), 1);
        const rs::Completion done = std::move(take(queue, 1).at(1));
        CHECK(done.error()->is_indeterminate() != done.error()->is_not_executed());
        client.submit(queue, 2, {"BLPOP", "none", "0"});
    }
    CHECK(!take(queue, 1).at(2).ok());
}

static void an_event_loop() {
    rs::Client client(server_url(redis));
    rs::Queue queue(10);
    std::thread other([&] { client.submit(queue, 1, {"PING"}); });
    pollfd fd{queue.fd(), POLLIN, 0};
    CHECK_INT(::poll(&fd, 1, 60000), 1);
    CHECK(queue.poll(10, 0ms).at(0).reply().string() == "PONG");
    CHECK_INT(::poll(&fd, 1, 0), 0);
    other.join();
}

static void waking_and_closing() {
    rs::Client client(server_url(redis));
    rs::Queue queue(10);
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; i++) {
        workers.emplace_back([&] {
            while (!queue.closed()) CHECK(queue.poll(10).empty());
        });
    }
    queue.wake();
    queue.close();
    for (std::thread &worker : workers) worker.join();
    CHECK_INT(client.try_submit(queue, 1, {"PING"}).error().status(), RS_ERR_CLOSED);
    CHECK(queue.poll(10, rs::forever).empty());
    pollfd fd{queue.fd(), POLLIN, 0};
    CHECK_INT(::poll(&fd, 1, 60000), 1);
    rs::Queue other(1);
    other.wake();
    CHECK(other.poll(1).empty() && !other.closed());
    const rs::Queue moved(std::move(other));
    other.wake(), other.close();
    CHECK(!other.closed() && !moved.closed());
}

// Calls back for each completion, and waits for the first.
static void dispatching() {
    rs::Client client(server_url(redis));
    for (std::uint32_t flags : {0U, RS_QUEUE_NO_THREAD + 0U}) {
        rs::Queue queue(100, flags);
        for (std::uint64_t tag = 0; tag < 50; ++tag) client.submit(queue, tag, {"ECHO", tag});
        std::uint64_t sum = 0;
        std::size_t count = 0;
        while (!queue.empty())
            count += queue.dispatch(10, rs::forever, [&](rs::Completion done) {
                CHECK(done.reply().as<std::uint64_t>() == done.tag());
                sum += done.tag();
                if (done.tag() == 7) client.submit(queue, 100, {"ECHO", 100}); // it may submit
            });
        CHECK_INT(count, 51);
        CHECK_INT(sum, 49 * 25 + 100);
        CHECK_INT(queue.dispatch(10, 0ms, [](const rs::Completion &) { FAIL("there was one"); }), 0);
        CHECK_INT(queue.try_dispatch(10, -5ms, [](const rs::Completion &) { FAIL("there was one"); }).value(), 0);
    }
    rs::Queue queue(1), moved(std::move(queue));
    CHECK_INT(queue.try_dispatch(1, 0ms, [](const rs::Completion &) {}).error().status(), RS_ERR_INVALID_ARGUMENT);
}

// What a callback throws leaves dispatch, when all that were taken out have been handed over.
static void throwing() {
    rs::Client client(server_url(redis));
    rs::Queue queue(10);
    std::size_t handed = 0;
    int thrown = 0, rounds = 0;
    for (std::uint64_t tag = 0; tag < 5; ++tag) client.submit(queue, tag, {"PING"});
    while (!queue.empty()) {
        const std::size_t before = handed;
        ++rounds;
        try {
            queue.dispatch(10, rs::forever, [&](const rs::Completion &done) {
                ++handed;
                if (done.tag() != 4) throw static_cast<int>(done.tag());
            });
        } catch (int tag) {
            ++thrown;
            CHECK_INT(tag, before); // the first
        }
    }
    CHECK_INT(handed, 5);
    CHECK(thrown >= 1 && thrown >= rounds - 1);
}

// Without memory poll takes nothing out, and what dispatch has taken out has its end all the same.
static void without_memory() {
    rs::Client client(server_url(redis));
    rs::Queue queue(10);
    for (std::uint64_t tag = 0; tag < 3; ++tag) client.submit(queue, tag, {"PING"});
    bool is_thrown = false;
    lacks_memory = true;
    try {
        queue.poll(10, 60s);
    } catch (const std::bad_alloc &) {
        is_thrown = true;
    }
    lacks_memory = false;
    CHECK(is_thrown);
    CHECK_INT(queue.size(), 3);
    CHECK_INT(take(queue, 3).size(), 3);
    client.submit(queue, 4, {"INCR"});
    std::uint64_t tag = 0;
    rs_status status = RS_OK;
    lacks_memory = true;
    const std::size_t count = queue.dispatch(1, 60s, [&](const rs::Completion &done) {
        tag = done.tag();
        status = done.status();
    });
    lacks_memory = false;
    CHECK_INT(count, 1);
    CHECK_INT(tag, 4);
    CHECK_INT(status, RS_ERR_INDETERMINATE);
}

// Where memory ends half-way, what cannot be told of is counted, and nothing else is lost.
static void events_without_memory() {
    const std::size_t made = 10;
    bool was_partial = false;
    for (int left = 0;; ++left) {
        const rs::Queue queue(10);
        const rs::Events events(made, queue);
        rs::Options options;
        options.events(events);
        for (std::size_t i = 0; i < made; ++i) rs::Client client(server_url(redis), options);
        std::size_t told = 0, dropped = 0;
        const auto take = [&] {
            const rs::TakenEvents taken = events.take();
            for (const rs::KeptEvent &event : taken.events)
                CHECK(event.kind == RS_EVENT_CONNECTED && event.node && !event.message.empty());
            told += taken.events.size(), dropped += taken.dropped;
        };
        allocations_left = left;
        try {
            take();
        } catch (const std::bad_alloc &) {
            CHECK_INT(left, 0);
        }
        const bool is_over = !std::exchange(lacks_memory, false);
        allocations_left = -1;
        was_partial |= told > 0 && dropped > 0;
        take();
        CHECK_INT(told + dropped, made);
        if (is_over) break;
    }
    CHECK(was_partial);
}

int main() {
    redis = server_start();
    RUN(without_memory);
    RUN(events_without_memory);
    RUN(every_form_of_submitting);
    RUN(what_is_refused);
    RUN(cancelling_and_closing);
    RUN(an_event_loop);
    RUN(waking_and_closing);
    RUN(dispatching);
    RUN(throwing);
}
