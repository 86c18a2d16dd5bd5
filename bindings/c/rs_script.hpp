// rs_script: Lua scripts on Redis and Valkey, from C++17. A header over rs_script.h: nothing to link but the C library.
//
// LINK      As for C: find_package(rs_script) and rs_script::rs_script, or pkg-config rs_script.
//
// EXAMPLE   Multiplies the number at a key.
//
//     #include <rs_script.hpp>
//     #include <iostream>
//
//     int main() try {
//         rs::Client client("redis://127.0.0.1:6379");
//         rs::Script multiply(client, "return redis.call('GET', KEYS[1]) * ARGV[1]");
//         client.command({"SET", "foo", "2"});
//         std::cout << multiply.call({"foo"}, {"5"}).integer() << '\n'; // 10
//     } catch (const rs::Error &error) {
//         std::cerr << error.status_name() << ": " << error.what() << '\n';
//         return 1;
//     }
//
// OWNERSHIP Client, Script, Pipeline, Queue, Reply and Options own a handle of the C library: they move, do not copy, and free it when they go. One
//           that was moved from holds nothing; calls on it fail with RS_ERR_INVALID_ARGUMENT. What is handed in is copied by the library, nothing
//           of it is kept after the call returns, and this header makes no copy besides (lists of up to rs::Strings::inline_size strings
//           allocate nothing).
// ERRORS    Functions throw rs::Error. Each has a twin whose name starts with try_ that returns rs::Result instead and throws nothing but
//           std::bad_alloc. The status is a number RS_ERR_ of rs_script.h. Without exceptions (-fno-exceptions) use the twins: a function
//           that would throw calls std::terminate.
// STRINGS   are std::string_view, any byte may be among them. Exceptions: URLs, user names, paths and the like end at their first NUL.
//           What is borrowed from a Reply cannot be taken of one that goes at the end of the expression: name the reply first, or copy
//           out of it with as<std::string>().
// THREADS   As in C: any number of threads may call const functions of one Client, Script, Queue or Reply; a Pipeline belongs to one at a time. Freeing,
//           moving and assigning exclude all else.

#ifndef RS_SCRIPT_HPP
#define RS_SCRIPT_HPP

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#ifdef __cpp_lib_expected
#include <expected>
#endif

#include <rs_script.h>

namespace rs {

// Why a call failed: rs_error as an exception. Copies share it.
class Error : public std::runtime_error {
public:
    // Takes ownership of an error of the C library.
    explicit Error(rs_error *error) : std::runtime_error(rs_error_message(error)), error_(error, rs_error_free) {}

    // An error of this header's own: a reply that is not of the type that was asked for.
    Error(rs_status status, const std::string &message) : std::runtime_error(message), status_(status) {}

    // One of the RS_ERR_ numbers.
    rs_status status() const noexcept { return error_ ? rs_error_status(error_.get()) : status_; }

    // Its name, such as `RS_ERR_INDETERMINATE`.
    const char *status_name() const noexcept { return rs_status_name(status()); }

    // The first word of the server's error text, such as `WRONGTYPE`; empty when the server did not answer. Lives as long as
    // this error or a copy of it.
    std::string_view server_code() const noexcept { return rs_error_server_code(error_.get()); }

    // Whether the call may have been executed, or may yet be, without this side ever learning of it.
    bool is_indeterminate() const noexcept { return rs_error_is_indeterminate(error_.get()); }

    // Whether it is certain that the call was not executed and will not be, so that it may be made again.
    bool is_not_executed() const noexcept { return rs_error_is_not_executed(error_.get()); }

    // What ended the call, one of the RS_REASON_ numbers, whatever is known of its execution.
    std::int32_t reason() const noexcept { return rs_error_reason(error_.get()); }

    // Its name, such as `RS_REASON_DEADLINE`.
    const char *reason_name() const noexcept { return rs_reason_name(reason()); }

    // The item of a pipeline or transaction that it is about; of several without an answer, the first. None where it is about no one item.
    std::optional<std::size_t> index() const noexcept {
        const std::size_t index = rs_error_index(error_.get());
        return index == RS_NO_INDEX ? std::nullopt : std::optional<std::size_t>(index);
    }

    // The server that it is about, as `host:port` or the path of a socket; empty where none is known. Lives as long as this error or a copy of it.
    std::string_view node() const noexcept { return rs_error_node(error_.get()); }

private:
    std::shared_ptr<const rs_error> error_;
    rs_status status_ = RS_ERR_INTERNAL;
};

namespace detail {

template <class Exception> [[noreturn]] void raise(const Exception &exception) {
#if defined(__cpp_exceptions)
    throw exception;
#else
    (void)exception;
    std::terminate();
#endif
}

} // namespace detail

// A value or the Error why there is none: what functions named try_ return.
template <class T> class [[nodiscard]] Result {
public:
    // Holds a value.
    Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}

    // Holds an error.
    Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}

    // Whether there is a value.
    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    // The value; throws the error when there is none.
    T &value() & { return check(), std::get<0>(held_); }
    const T &value() const & { return check(), std::get<0>(held_); }
    T value() && { return check(), std::get<0>(std::move(held_)); }

    // The value, unchecked: there must be one.
    T &operator*() noexcept { return *std::get_if<0>(&held_); }
    const T &operator*() const noexcept { return *std::get_if<0>(&held_); }
    T *operator->() noexcept { return std::get_if<0>(&held_); }
    const T *operator->() const noexcept { return std::get_if<0>(&held_); }

    // The error, unchecked: there must be no value.
    const Error &error() const noexcept { return *std::get_if<1>(&held_); }

#ifdef __cpp_lib_expected
    // The same as the standard has it, from C++23 on.
    std::expected<T, Error> expected() && {
        if (has_value()) return std::move(**this);
        return std::unexpected(error());
    }
#endif

private:
    void check() const {
        if (const Error *error = std::get_if<1>(&held_)) detail::raise(*error);
    }

    std::variant<T, Error> held_;
};

// Success, or the Error.
template <> class [[nodiscard]] Result<void> {
public:
    // Success.
    Result() = default;

    // Holds an error.
    Result(Error error) : error_(std::move(error)) {}

    // Whether it succeeded.
    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }

    // Throws the error if there is one.
    void value() const {
        if (error_) detail::raise(*error_);
    }

    // The error, unchecked: there must be one.
    const Error &error() const noexcept { return *error_; }

#ifdef __cpp_lib_expected
    // The same as the standard has it, from C++23 on.
    std::expected<void, Error> expected() && {
        if (has_value()) return {};
        return std::unexpected(error());
    }
#endif

private:
    std::optional<Error> error_;
};

namespace detail {

// Frees a handle with its function of the C library.
template <auto Free> struct Freeing {
    template <class T> void operator()(T *handle) const noexcept { Free(handle); }
};

template <class T, auto Free> using Handle = std::unique_ptr<T, Freeing<Free>>;

// Whether strings that a range yields live on when its iterator has moved: those it refers to, and views.
template <class Item>
inline constexpr bool is_lasting_string =
    std::is_convertible_v<Item, std::string_view> &&
    (std::is_lvalue_reference_v<Item> || std::is_trivially_destructible_v<std::decay_t<Item>>);

// Whether a type stands for one string, which is then no range of characters.
template <class T> inline constexpr bool is_string = std::is_convertible_v<const T &, std::string_view>;

// Whether a type is written as a number. A char may be meant as a letter, a bool as a word: neither is taken.
template <class T, class Plain = std::remove_cv_t<std::remove_reference_t<T>>>
inline constexpr bool is_number =
    std::is_arithmetic_v<Plain> && !std::is_same_v<Plain, bool> && !std::is_same_v<Plain, char> &&
    !std::is_same_v<Plain, wchar_t> && !std::is_same_v<Plain, char16_t> && !std::is_same_v<Plain, char32_t>;

template <class Range> using Item = decltype(*std::begin(std::declval<Range &>()));

template <class Range, class = void> inline constexpr bool is_range_of_strings = false;
template <class Range>
inline constexpr bool is_range_of_strings<Range, std::void_t<Item<Range>>> =
    !is_string<Range> && is_lasting_string<Item<Range>>;

template <class Range, class = void> inline constexpr bool is_range_of_numbers = false;
template <class Range>
inline constexpr bool is_range_of_numbers<Range, std::void_t<Item<Range>>> = !is_string<Range> && is_number<Item<Range>>;

// A number in the shortest form that gives the same number again.
class Number {
public:
    template <class T> explicit Number(T number) noexcept {
        if constexpr (std::is_integral_v<T>) {
            size_ = written(std::to_chars(text_.data(), text_.data() + text_.size(), number).ptr);
        } else {
#if defined(__cpp_lib_to_chars)
            size_ = written(std::to_chars(text_.data(), text_.data() + text_.size(), number).ptr);
#else
            const int size = std::snprintf(text_.data(), text_.size(), "%.17Lg", static_cast<long double>(number));
            size_ = size > 0 ? static_cast<std::size_t>(size) : 0;
            // The decimal point of the program's locale.
            for (char &c : text_)
                if (c == ',') c = '.';
#endif
        }
    }

    std::string_view view() const noexcept { return std::string_view(text_.data(), size_); }

private:
    std::size_t written(const char *end) const noexcept { return static_cast<std::size_t>(end - text_.data()); }

    std::array<char, 64> text_;
    std::size_t size_ = 0;
};

// A string or a number in a list in braces.
class Argument {
public:
    template <class T, std::enable_if_t<is_string<T>, int> = 0>
    Argument(const T &string) : held_(std::string_view(string)) {}

    template <class T, std::enable_if_t<is_number<T>, int> = 0> Argument(T number) noexcept : held_(Number(number)) {}

    std::string_view view() const noexcept {
        if (const Number *number = std::get_if<Number>(&held_)) return number->view();
        return *std::get_if<std::string_view>(&held_);
    }

private:
    std::variant<std::string_view, Number> held_;
};

} // namespace detail

// A list of strings to hand over, as C wants it: pointers and lengths. Made on the spot from `{"INCRBY", key, 5}`, where numbers stand
// for their decimal form, or from any range of what converts to std::string_view, or of numbers. It refers to the strings: they must live
// until the call returns, as temporaries in the call do.
class Strings {
public:
    // So many strings need no memory from the heap.
    static constexpr std::size_t inline_size = 16;

    // No strings.
    Strings() noexcept = default;

    // From a list in braces.
    Strings(std::initializer_list<detail::Argument> arguments) {
        for (const detail::Argument &argument : arguments) add(argument.view());
    }

    // From a range: a std::vector<std::string>, a std::array<std::string_view, N>, a `const char *[]`, a view of C++20, ...
    template <class Range, std::enable_if_t<detail::is_range_of_strings<Range>, int> = 0> Strings(Range &&strings) {
        auto last = std::end(strings);
        for (auto next = std::begin(strings); next != last; ++next) add(*next);
    }

    // From a range of numbers, each in its decimal form.
    template <class Range, std::enable_if_t<detail::is_range_of_numbers<Range>, int> = 0> Strings(Range &&numbers) {
        auto last = std::end(numbers);
        for (auto next = std::begin(numbers); next != last; ++next) numbers_.emplace_back(*next);
        for (const detail::Number &number : numbers_) add(number.view());
    }

    Strings(const Strings &) = delete;
    Strings &operator=(const Strings &) = delete;

    // How many.
    std::size_t size() const noexcept { return size_; }

    // Their first bytes.
    const char *const *data() const noexcept { return more_.pointers.empty() ? pointers_.data() : more_.pointers.data(); }

    // Their lengths, in bytes.
    const std::size_t *lengths() const noexcept { return more_.lengths.empty() ? lengths_.data() : more_.lengths.data(); }

private:
    void add(std::string_view string) {
        if (size_ < inline_size) {
            pointers_[size_] = string.data();
            lengths_[size_] = string.size();
        } else {
            if (size_ == inline_size) {
                more_.pointers.assign(pointers_.begin(), pointers_.end());
                more_.lengths.assign(lengths_.begin(), lengths_.end());
            }
            more_.pointers.push_back(string.data());
            more_.lengths.push_back(string.size());
        }
        ++size_;
    }

    // More than fit inline; all of them then.
    struct More {
        std::vector<const char *> pointers;
        std::vector<std::size_t> lengths;
    };

    std::size_t size_ = 0;
    std::array<const char *, inline_size> pointers_;
    std::array<std::size_t, inline_size> lengths_;
    More more_;
    std::vector<detail::Number> numbers_;
};

class ReplyView;

namespace detail {

// What can be asked of a reply that may be gone at the end of the expression: nothing that is borrowed from it.
class View {
public:
    View() noexcept = default;
    explicit View(const rs_reply *reply) noexcept : reply_(reply) {}

    // Whether it views anything at all; a nil is something.
    explicit operator bool() const noexcept { return reply_ != nullptr; }

    // One of the RS_REPLY_ numbers.
    std::int32_t type() const noexcept { return rs_reply_type(reply_); }

    // Whether it is a nil: Lua `false` and `nil`, a key that does not exist.
    bool is_nil() const noexcept { return type() == RS_REPLY_NIL; }

    // The number of elements of an array, set or map (keys and values both count), the number of bytes of a string.
    std::size_t size() const noexcept { return rs_reply_len(reply_); }

    // The value of an integer, or of a boolean as 1 or 0.
    std::int64_t integer() const noexcept { return rs_reply_integer(reply_); }

    // The value of a boolean, or whether an integer is not 0.
    bool boolean() const noexcept { return integer() != 0; }

    // The value of a double, or of an integer as a double.
    double number() const noexcept { return rs_reply_double(reply_); }

    // An error reply as an Error: of a pipeline's item with the item's index and command in its message, and with what is known of
    // its execution. Empty for all else.
    std::optional<Error> error() const {
        rs_error *error = nullptr;
        if (rs_reply_error(reply_, &error) == RS_OK) return std::nullopt;
        return Error(error);
    }

    // A copy as a value of C++: a number, bool or std::string; std::optional for what may be nil; a std::vector, std::set or
    // std::unordered_set; a std::map or std::unordered_map, of a map or of an array of keys and values in turn; a std::pair or
    // std::tuple, of an array of exactly so many elements; all of these nested. A string that is a whole number in decimal form is also
    // a number, and a number a string. An Error that says what was found, and where, if it is something else; an error reply is its own.
    template <class T> T as() const { return try_as<T>().value(); }
    template <class T> Result<T> try_as() const;

protected:
    const rs_reply *reply_ = nullptr;
};

} // namespace detail

// A look at a reply or at an element of one; valid until the Reply that it came from goes. Copied freely. No function but as fails: 0, false
// or an empty string is given where the question does not fit, and by a view of nothing.
class ReplyView : public detail::View {
public:
    // A view of nothing: its type is RS_REPLY_NONE.
    ReplyView() noexcept = default;

    // Of a reply of the C library.
    explicit ReplyView(const rs_reply *reply) noexcept : View(reply) {}

    // The bytes of a string, status, error, double, big number or verbatim text; borrowed.
    std::string_view string() const noexcept {
        std::size_t len = 0;
        const char *bytes = rs_reply_string(reply_, &len);
        return bytes ? std::string_view(bytes, len) : std::string_view();
    }

    // The three letters of a verbatim text's format, such as `txt`; borrowed.
    std::string_view verbatim_format() const noexcept {
        const char *format = rs_reply_verbatim_format(reply_);
        return format ? std::string_view(format) : std::string_view();
    }

    // An element of an array, set or map; a view of nothing beyond the end. In a map keys and values take turns.
    ReplyView operator[](std::size_t index) const noexcept { return ReplyView(rs_reply_element(reply_, index)); }

    // Goes over the elements of an array, set or map.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = ReplyView;
        using difference_type = std::ptrdiff_t;
        using pointer = const ReplyView *;
        using reference = ReplyView;

        iterator() noexcept = default;
        iterator(const rs_reply *parent, std::size_t index) noexcept : parent_(parent), index_(index) {}

        ReplyView operator*() const noexcept { return ReplyView(rs_reply_element(parent_, index_)); }
        iterator &operator++() noexcept { return ++index_, *this; }
        iterator operator++(int) noexcept { return iterator(parent_, index_++); }
        friend bool operator==(iterator a, iterator b) noexcept { return a.index_ == b.index_; }
        friend bool operator!=(iterator a, iterator b) noexcept { return a.index_ != b.index_; }

    private:
        const rs_reply *parent_ = nullptr;
        std::size_t index_ = 0;
    };

    // The first element; equal to end() for what has none.
    iterator begin() const noexcept { return iterator(reply_, 0); }

    // Beyond the last element.
    iterator end() const noexcept { return iterator(reply_, has_elements() ? size() : 0); }

    // The handle, for functions of the C library; borrowed.
    const rs_reply *get() const noexcept { return reply_; }

private:
    bool has_elements() const noexcept {
        const std::int32_t kind = type();
        return kind == RS_REPLY_ARRAY || kind == RS_REPLY_MAP || kind == RS_REPLY_SET;
    }
};

// An element of a reply that has no name: `client.command({"TIME"})[0].as<long>()`. It lends nothing, for it goes with the reply.
class TemporaryView : public detail::View {
public:
    explicit TemporaryView(const rs_reply *reply) noexcept : View(reply) {}
    TemporaryView operator[](std::size_t index) const noexcept { return TemporaryView(rs_reply_element(reply_, index)); }
};

// A reply and all its elements; everything that ReplyView can do, and views of it are valid as long as it lives. What is borrowed cannot be
// taken of a reply without a name, which goes at the end of the expression.
class Reply : public detail::View {
public:
    // No reply.
    Reply() noexcept = default;

    // Takes ownership of a reply of the C library.
    explicit Reply(rs_reply *reply) noexcept : View(reply), owned_(reply) {}

    Reply(Reply &&other) noexcept : View(std::exchange(other.reply_, nullptr)), owned_(std::move(other.owned_)) {}
    Reply &operator=(Reply &&other) noexcept {
        owned_ = std::move(other.owned_);
        reply_ = owned_.get();
        other.reply_ = other.owned_.get();
        return *this;
    }

    // A look at it.
    ReplyView view() const & noexcept { return ReplyView(reply_); }
    ReplyView view() const && = delete;
    operator ReplyView() const & noexcept { return view(); }
    operator ReplyView() const && = delete;

    // As those of ReplyView.
    std::string_view string() const & noexcept { return view().string(); }
    std::string_view string() const && = delete;
    std::string_view verbatim_format() const & noexcept { return view().verbatim_format(); }
    std::string_view verbatim_format() const && = delete;
    ReplyView operator[](std::size_t index) const & noexcept { return view()[index]; }
    TemporaryView operator[](std::size_t index) const && noexcept { return TemporaryView(rs_reply_element(reply_, index)); }
    using iterator = ReplyView::iterator;
    iterator begin() const & noexcept { return view().begin(); }
    iterator begin() const && = delete;
    iterator end() const & noexcept { return view().end(); }
    iterator end() const && = delete;
    const rs_reply *get() const & noexcept { return reply_; }
    const rs_reply *get() const && = delete;

private:
    detail::Handle<rs_reply, rs_reply_free> owned_;
};

namespace detail {

template <class T> inline constexpr bool is_optional = false;
template <class T> inline constexpr bool is_optional<std::optional<T>> = true;

template <class T, class = void> inline constexpr bool is_map = false;
template <class T> inline constexpr bool is_map<T, std::void_t<typename T::key_type, typename T::mapped_type>> = true;

template <class T, class = void> inline constexpr bool is_set = false;
template <class T> inline constexpr bool is_set<T, std::void_t<typename T::key_type>> = !is_map<T>;

template <class T, class = void> inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<T, std::void_t<typename T::value_type, decltype(std::declval<T &>().push_back(
                                                                         std::declval<typename T::value_type>()))>> = true;

template <class T, class = void> inline constexpr bool is_tuple = false;
template <class T> inline constexpr bool is_tuple<T, std::void_t<decltype(std::tuple_size<T>::value)>> = true;

template <class T> inline constexpr bool is_readable = false;

inline const char *type_name(std::int32_t type) noexcept {
    switch (type) {
    case RS_REPLY_NIL: return "nil";
    case RS_REPLY_STATUS: return "a status";
    case RS_REPLY_ERROR: return "an error";
    case RS_REPLY_INTEGER: return "an integer";
    case RS_REPLY_STRING: return "a string";
    case RS_REPLY_ARRAY: return "an array";
    case RS_REPLY_MAP: return "a map";
    case RS_REPLY_SET: return "a set";
    case RS_REPLY_DOUBLE: return "a double";
    case RS_REPLY_BOOLEAN: return "a boolean";
    case RS_REPLY_BIG_NUMBER: return "a big number";
    case RS_REPLY_VERBATIM: return "a verbatim text";
    default: return "no reply";
    }
}

// Where in a reply an element is: its index in each of the aggregates around it.
struct Path {
    const Path *outer;
    std::size_t index;

    std::string text() const {
        return "element " + std::to_string(index) + (outer ? " of " + outer->text() : std::string(" of the reply"));
    }
};

inline Error unfit(ReplyView reply, const Path *path, const char *wanted, const char *why = nullptr) {
    if (std::optional<Error> error = reply.error()) return *std::move(error);
    return Error(RS_ERR_INVALID_ARGUMENT, (path ? path->text() : std::string("the reply")) + " is " +
                                              (why ? why : type_name(reply.type())) + ", not " + wanted);
}

inline bool has_text(std::int32_t type) noexcept {
    return type == RS_REPLY_STRING || type == RS_REPLY_STATUS || type == RS_REPLY_VERBATIM || type == RS_REPLY_BIG_NUMBER ||
           type == RS_REPLY_DOUBLE;
}

template <class T> Result<T> read(ReplyView reply, const Path *path);

template <class T> Result<T> read_integer(ReplyView reply, const Path *path) {
    T number{};
    if (reply.type() == RS_REPLY_INTEGER) {
        const std::int64_t value = reply.integer();
        const bool fits = value < 0 ? std::is_signed_v<T> && value >= static_cast<std::int64_t>(std::numeric_limits<T>::min())
                                    : static_cast<std::uint64_t>(value) <= static_cast<std::uint64_t>(std::numeric_limits<T>::max());
        if (!fits) return unfit(reply, path, "one that fits the type asked for", ("the integer " + std::to_string(value)).c_str());
        return static_cast<T>(value);
    }
    if (has_text(reply.type()) && reply.type() != RS_REPLY_DOUBLE) {
        const std::string_view text = reply.string();
        const std::from_chars_result end = std::from_chars(text.data(), text.data() + text.size(), number);
        if (end.ec == std::errc() && end.ptr == text.data() + text.size()) return number;
        return unfit(reply, path, "an integer of the type asked for", "a text that is something else");
    }
    return unfit(reply, path, "an integer");
}

template <class T> Result<T> read_floating(ReplyView reply, const Path *path) {
    if (reply.type() == RS_REPLY_INTEGER || reply.type() == RS_REPLY_DOUBLE) return static_cast<T>(reply.number());
    if (reply.type() == RS_REPLY_STRING || reply.type() == RS_REPLY_STATUS) {
        const std::string_view text = reply.string();
#if defined(__cpp_lib_to_chars)
        T number{};
        const std::from_chars_result end = std::from_chars(text.data(), text.data() + text.size(), number);
        if (end.ec == std::errc() && end.ptr == text.data() + text.size()) return number;
#else
        const std::string ended(text);
        char *end = nullptr;
        const double number = std::strtod(ended.c_str(), &end);
        if (!text.empty() && end == ended.c_str() + text.size()) return static_cast<T>(number);
#endif
        return unfit(reply, path, "a number", "a text that is something else");
    }
    return unfit(reply, path, "a number");
}

template <class T> Result<T> read_list(ReplyView reply, const Path *path) {
    if (reply.type() != RS_REPLY_ARRAY && reply.type() != RS_REPLY_SET) return unfit(reply, path, "an array");
    T list;
    Path place{path, 0};
    for (ReplyView element : reply) {
        Result<typename T::value_type> value = read<typename T::value_type>(element, &place);
        if (!value) return value.error();
        if constexpr (is_set<T>)
            list.insert(std::move(*value));
        else
            list.push_back(std::move(*value));
        ++place.index;
    }
    return list;
}

template <class T> Result<T> read_map(ReplyView reply, const Path *path) {
    const bool is_pairs = reply.type() == RS_REPLY_ARRAY && reply.size() % 2 == 0;
    if (reply.type() != RS_REPLY_MAP && !is_pairs) return unfit(reply, path, "a map");
    T map;
    Path place{path, 0};
    for (auto next = reply.begin(); next != reply.end(); ++next) {
        Result<typename T::key_type> key = read<typename T::key_type>(*next, &place);
        if (!key) return key.error();
        ++next, ++place.index;
        Result<typename T::mapped_type> value = read<typename T::mapped_type>(*next, &place);
        if (!value) return value.error();
        map.emplace(std::move(*key), std::move(*value));
        ++place.index;
    }
    return map;
}

template <class T, std::size_t... Index> Result<T> read_tuple(ReplyView reply, const Path *path, std::index_sequence<Index...>) {
    if (reply.type() != RS_REPLY_ARRAY || reply.size() != sizeof...(Index)) {
        const std::string wanted = "an array of " + std::to_string(sizeof...(Index));
        const std::string found = std::string(type_name(reply.type())) + " of " + std::to_string(reply.size());
        return unfit(reply, path, wanted.c_str(), reply.type() == RS_REPLY_ARRAY ? found.c_str() : nullptr);
    }
    std::optional<Error> failed;
    std::tuple<std::optional<std::tuple_element_t<Index, T>>...> values;
    auto one = [&](auto &into, std::size_t index) {
        if (failed) return;
        Path place{path, index};
        auto value = read<typename std::decay_t<decltype(into)>::value_type>(reply[index], &place);
        if (value)
            into = std::move(*value);
        else
            failed = value.error();
    };
    (one(std::get<Index>(values), Index), ...);
    if (failed) return *std::move(failed);
    return T(std::move(*std::get<Index>(values))...);
}

template <class T> Result<T> read(ReplyView reply, const Path *path) {
    static_assert(!std::is_same_v<T, std::string_view>, "as<std::string> copies; string() of a reply with a name borrows");
    if constexpr (is_optional<T>) {
        if (reply.is_nil()) return T();
        Result<typename T::value_type> value = read<typename T::value_type>(reply, path);
        if (!value) return value.error();
        return T(std::move(*value));
    } else if constexpr (std::is_same_v<T, bool>) {
        if (reply.type() == RS_REPLY_BOOLEAN || reply.type() == RS_REPLY_INTEGER) return reply.boolean();
        return unfit(reply, path, "a boolean");
    } else if constexpr (std::is_integral_v<T>) {
        return read_integer<T>(reply, path);
    } else if constexpr (std::is_floating_point_v<T>) {
        return read_floating<T>(reply, path);
    } else if constexpr (std::is_same_v<T, std::string>) {
        if (reply.type() == RS_REPLY_INTEGER) return std::to_string(reply.integer());
        if (has_text(reply.type())) return std::string(reply.string());
        return unfit(reply, path, "a string");
    } else if constexpr (is_map<T>) {
        return read_map<T>(reply, path);
    } else if constexpr (is_set<T> || is_list<T>) {
        return read_list<T>(reply, path);
    } else if constexpr (is_tuple<T>) {
        return read_tuple<T>(reply, path, std::make_index_sequence<std::tuple_size_v<T>>());
    } else {
        static_assert(is_readable<T>, "a reply does not convert to this type");
    }
}

template <class T> Result<T> View::try_as() const { return read<T>(ReplyView(reply_), nullptr); }

} // namespace detail

// What to open clients with. A builder: every function sets the option of rs_script.h that bears its name, and returns the
// builder. A value that cannot be used is remembered: opening a client with these options fails with that error.
class Options {
public:
    // Every default.
    Options() : handle_(rs_options_new()) {
        if (!handle_) detail::raise(std::bad_alloc());
    }

    // How long connecting may take, in milliseconds above 0; default 5000.
    Options &connect_timeout_ms(std::uint64_t timeout_ms) { return set(rs_options_set_connect_timeout_ms, timeout_ms); }

    // How long a call may take, all its attempts together, in milliseconds above 0; default 10000.
    Options &call_timeout_ms(std::uint64_t timeout_ms) { return set(rs_options_set_call_timeout_ms, timeout_ms); }

    // When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and calls
    // were waiting on it for so long without a single byte coming. Milliseconds above 0; wins over the URL's
    // silence_timeout_ms; default 500.
    Options &silence_timeout_ms(std::uint64_t timeout_ms) { return set(rs_options_set_silence_timeout_ms, timeout_ms); }

    // The ACL user; wins over the URL's.
    Options &username(std::string_view username) { return set(rs_options_set_username, std::string(username).c_str()); }

    // The password; wins over the URL's.
    Options &password(std::string_view password) {
        return set(rs_options_set_password, password.data(), password.size());
    }

    // The name in CLIENT LIST; printable ASCII without spaces.
    Options &client_name(std::string_view name) { return set(rs_options_set_client_name, std::string(name).c_str()); }

    // One of the RS_PROTOCOL_ numbers.
    Options &protocol(std::int32_t protocol) { return set(rs_options_set_protocol, protocol); }

    // A PEM file of the authorities to trust instead of the system's.
    Options &tls_ca_file(std::string_view path) { return set(rs_options_set_tls_ca_file, std::string(path).c_str()); }

    // PEM files of the client certificate, its chain included, and of its key.
    Options &tls_client_cert(std::string_view cert_path, std::string_view key_path) {
        return set(rs_options_set_tls_client_cert, std::string(cert_path).c_str(), std::string(key_path).c_str());
    }

    // The host name or address that the server's certificate must hold, instead of the URL's host.
    Options &tls_server_name(std::string_view name) {
        return set(rs_options_set_tls_server_name, std::string(name).c_str());
    }

    // True: accept any certificate of anybody. Whoever sits on the way can read and change everything.
    Options &tls_insecure_skip_verify(bool skip) { return set(rs_options_set_tls_insecure_skip_verify, skip); }

    // TCP keep-alive: the first probe after so many seconds of silence, 1 to 32767; 0: none; default 60.
    Options &keepalive_ms(std::uint64_t idle_ms) { return set(rs_options_set_keepalive_ms, idle_ms); }

    // The pause before the second attempt to connect, and the longest pause, in milliseconds; default 20 and 1000.
    Options &reconnect_backoff_ms(std::uint64_t min_ms, std::uint64_t max_ms) {
        return set(rs_options_set_reconnect_backoff_ms, min_ms, max_ms);
    }

    // How many failed attempts to connect a call lives through; 0: as many as its deadline allows; default 5.
    Options &reconnect_attempts(std::size_t attempts) { return set(rs_options_set_reconnect_attempts, attempts); }

    // The longest reply, in bytes on the wire; at least 65536; default 513 MiB.
    Options &max_reply_bytes(std::size_t bytes) { return set(rs_options_set_max_reply_bytes, bytes); }

    // How deep arrays, maps and sets of a reply may be nested, 8 to 1024; default 128.
    Options &max_reply_depth(std::size_t depth) { return set(rs_options_set_max_reply_depth, depth); }

    // True: opening does not connect, the first call does.
    Options &max_waiting(std::size_t count) { return set(rs_options_set_max_waiting, count); }
    Options &shared_connections(std::size_t count) { return set(rs_options_set_shared_connections, count); }
    Options &max_in_flight(std::size_t calls) { return set(rs_options_set_max_in_flight, calls); }
    Options &lazy_connect(bool lazy) { return set(rs_options_set_lazy_connect, lazy); }

    // False: no connection tells the server by CLIENT SETINFO which library this is.
    Options &client_info(bool tell) { return set(rs_options_set_client_info, tell); }

    // False: no connection runs an empty transaction with its login; the first transaction on it costs a round trip more instead.
    Options &probe_transactions(bool probe) { return set(rs_options_set_probe_transactions, probe); }

    // Which servers run read-only calls: one of the RS_READ_FROM_ numbers; default RS_READ_FROM_PRIMARY.
    Options &read_from(std::int32_t read_from) { return set(rs_options_set_read_from, read_from); }

    // Connect to `reachable` wherever the servers themselves speak of `announced`; each is `host:port`. Once for each address.
    Options &map_address(std::string_view announced, std::string_view reachable) {
        return set(rs_options_map_address, std::string(announced).c_str(), std::string(reachable).c_str());
    }

    // The user to authenticate as with the sentinels; needs sentinel_password.
    Options &sentinel_username(std::string_view username) {
        return set(rs_options_set_sentinel_username, std::string(username).c_str());
    }

    // The password for the sentinels; the one in the URL is for the servers alone.
    Options &sentinel_password(std::string_view password) {
        return set(rs_options_set_sentinel_password, password.data(), password.size());
    }

    // Be told of connections made, lost and refused: `log(std::int32_t level, std::string_view message)` with a level RS_LOG_LEVEL_. It is moved
    // in and destroyed when neither these options nor a client of theirs needs it. It is called on any thread, perhaps on several at
    // once; it must not block, call the client or throw (std::terminate).
    template <class Log> Options &log(Log log) {
        auto call = [](void *context, std::int32_t level, const char *message, std::size_t len) noexcept {
            (*static_cast<Log *>(context))(level, std::string_view(message, len));
        };
        auto free = [](void *context) noexcept { delete static_cast<Log *>(context); };
        return set(rs_options_set_log, +call, static_cast<void *>(new Log(std::move(log))), +free);
    }

    // The first value that could not be used, if any.
    const std::optional<Error> &error() const noexcept { return error_; }

    // The handle, for functions of the C library; borrowed.
    const rs_options *get() const noexcept { return handle_.get(); }

private:
    template <class Setter, class... Values> Options &set(Setter setter, Values... values) {
        rs_error *error = nullptr;
        if (setter(handle_.get(), values..., &error) != RS_OK) {
            Error failed(error);
            if (!error_) error_ = std::move(failed);
        }
        return *this;
    }

    detail::Handle<rs_options, rs_options_free> handle_;
    std::optional<Error> error_;
};

// What a client's calls have cost since it was opened, over all its connections.
struct Stats {
    std::uint64_t calls;            // calls sent, those sent a second time counted again, and the handshakes
    std::uint64_t round_trips;      // bursts of writing to a socket; calls that travel together share one (RS_STAT_ROUND_TRIPS)
    std::uint64_t bytes_sent;       // before encryption
    std::uint64_t bytes_received;   // after decryption
    std::uint64_t script_loads;     // SCRIPT LOADs sent of the library's own accord
    std::uint64_t noscript_repairs; // scripts loaded and sent again because the server had lost them
    std::uint64_t reconnects;       // connections opened after the first
    std::uint64_t redirects;        // MOVED and ASK redirections followed
    std::uint64_t in_flight;        // calls in flight now, those included whose callers have left
};

class Script;
class Pipeline;
class Queue;

// A connection to a server, or to the servers of a cluster, that any number of threads may share; their calls travel together. A blocking
// call does its I/O on the thread that makes it. A child of fork() must open a client of its own.
class Client {
public:
    // Opens a client, and its connection unless the options say lazy_connect.
    //
    // `url`: `redis://[[user]:password@]host[:port][/database]`, `rediss://...` for TLS, `unix:///path`, a cluster as
    // `redis+cluster://[[user]:password@]host[:port],host[:port],...`, or the primary of a service behind sentinels as
    // `redis+sentinel://[[user]:password@]host[:port],.../service[/database]`.
    explicit Client(std::string_view url) : Client(try_open(url).value()) {}
    Client(std::string_view url, const Options &options) : Client(try_open(url, options).value()) {}
    static Result<Client> try_open(std::string_view url) { return open(url, nullptr); }
    static Result<Client> try_open(std::string_view url, const Options &options) {
        if (options.error()) return *options.error();
        return open(url, options.get());
    }

    // Takes ownership of a client of the C library.
    explicit Client(rs_client *client) noexcept : handle_(client) {}

    // Another handle of the same client whose calls have another deadline, in milliseconds; 0: as they have it now. It shares the connection.
    Client with_timeout_ms(std::uint64_t timeout_ms) const { return try_with_timeout_ms(timeout_ms).value(); }
    Result<Client> try_with_timeout_ms(std::uint64_t timeout_ms) const {
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        options.timeout_ms = timeout_ms;
        return view(options);
    }

    // Another handle of the same client whose read-only calls are run by other servers: one of the RS_READ_FROM_ numbers.
    Client with_read_from(std::int32_t read_from) const { return try_with_read_from(read_from).value(); }
    Result<Client> try_with_read_from(std::int32_t read_from) const {
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        options.read_from = read_from;
        return view(options);
    }

    // Another handle of the same client whose calls without keys, and commands whose keys the library does not know, go to the primary
    // that has the slot of `key`. Keys go before it. On a client of a single server it changes nothing.
    Client with_route_key(std::string_view key) const { return try_with_route_key(key).value(); }
    Result<Client> try_with_route_key(std::string_view key) const {
        return routed(RS_ROUTE_KEY, key);
    }

    // The same, by the number of a slot, 0 to 16383.
    Client with_route_slot(std::uint16_t slot) const { return try_with_route_slot(slot).value(); }
    Result<Client> try_with_route_slot(std::uint16_t slot) const { return routed(RS_ROUTE_SLOT, {}, slot); }

    // The same, by a server's `host:port`; a replica's will do. Whether there is such a server shows when it is called: RS_ERR_NO_ROUTE.
    Client with_route_node(std::string_view node) const { return try_with_route_node(node).value(); }
    Result<Client> try_with_route_node(std::string_view node) const {
        return routed(RS_ROUTE_NODE, node);
    }

    // The same, to all primaries side by side. The reply is a map from each one's `host:port` to its reply; one that gave none has an
    // error there, see ReplyView::error. Not for pipelines and transactions: RS_ERR_NO_ROUTE.
    Client with_route_all() const { return try_with_route_all().value(); }
    Result<Client> try_with_route_all() const { return routed(RS_ROUTE_ALL, {}); }

    // Sends a command as it is, for example `{"SET", "foo", "2"}`, and waits for its reply. Commands that would change the connection
    // under other callers are refused with RS_ERR_COMMAND_REFUSED. A command is never sent twice. In a cluster it goes to the primary
    // that has its keys; one that concerns a single server needs a route, such as with_route_all: RS_ERR_NO_ROUTE.
    Reply command(const Strings &argv) const { return try_command(argv).value(); }
    Result<Reply> try_command(const Strings &argv) const {
        rs_reply *reply = nullptr;
        rs_error *error = nullptr;
        if (rs_client_command(get(), argv.size(), argv.data(), argv.lengths(), nullptr, &reply, &error) != RS_OK)
            return Error(error);
        return Reply(reply);
    }

    // Sends a command without waiting: its reply will be in `queue`, under `tag`. An error means that it was not accepted and has no
    // completion: RS_ERR_QUEUE_FULL, or what is wrong with the arguments.
    void submit(const Queue &queue, std::uint64_t tag, const Strings &argv) const { try_submit(queue, tag, argv).value(); }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag, const Strings &argv) const;

    // Ends the calls under way in `queue` that this client has submitted with this tag; how many there were. Each is completed at once: with
    // RS_ERR_CANCELLED where nothing was sent, with RS_ERR_INDETERMINATE where the server may have executed it or may yet do so.
    std::size_t cancel(const Queue &queue, std::uint64_t tag) const { return try_cancel(queue, tag).value(); }
    Result<std::size_t> try_cancel(const Queue &queue, std::uint64_t tag) const;

    // An empty pipeline on this client: see Pipeline. `flags`: RS_PIPELINE_REPAIR_UNORDERED or 0.
    Pipeline pipeline(std::uint32_t flags = 0) const;
    Result<Pipeline> try_pipeline(std::uint32_t flags = 0) const;

    // An empty transaction on this client: everything runs without anything in between (MULTI and EXEC), or nothing does. An item that
    // fails while it runs does not undo the others. `flags`: RS_PIPELINE_TRUST_CACHE or 0.
    Pipeline transaction(std::uint32_t flags = 0) const;
    Result<Pipeline> try_transaction(std::uint32_t flags = 0) const;

    // Loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does it by itself.
    void script_load(const Script &script) const { try_script_load(script).value(); }
    Result<void> try_script_load(const Script &script) const;

    // Asks which scripts the server has in its cache, in a cluster which of them every primary has, by their SHA1s of 40 hexadecimal
    // digits.
    std::vector<bool> script_exists(const Strings &shas) const { return try_script_exists(shas).value(); }
    Result<std::vector<bool>> try_script_exists(const Strings &shas) const {
        const auto exists = std::make_unique<bool[]>(shas.size());
        rs_error *error = nullptr;
        if (rs_client_script_exists(get(), shas.size(), shas.data(), shas.lengths(), exists.get(), &error) != RS_OK)
            return Error(error);
        return std::vector<bool>(exists.get(), exists.get() + shas.size());
    }

    // Empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need. `mode`: one of
    // the RS_FLUSH_ numbers.
    void script_flush(std::int32_t mode = RS_FLUSH_DEFAULT) const { try_script_flush(mode).value(); }
    Result<void> try_script_flush(std::int32_t mode = RS_FLUSH_DEFAULT) const {
        rs_error *error = nullptr;
        if (rs_client_script_flush(get(), mode, &error) != RS_OK) return Error(error);
        return {};
    }

    // Stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the primaries are running.
    // They need not be this client's.
    void script_kill() const { try_script_kill().value(); }
    Result<void> try_script_kill() const {
        rs_error *error = nullptr;
        if (rs_client_script_kill(get(), &error) != RS_OK) return Error(error);
        return {};
    }

    // Stops what the server is running, a script or a function, if it has not written yet; in a cluster, what the primaries are running.
    // An array with an array for each that was stopped: `script` or `function`, the function's name or nil, the server.
    Reply kill() const { return try_kill().value(); }
    Result<Reply> try_kill() const {
        rs_reply *killed = nullptr;
        rs_error *error = nullptr;
        if (rs_client_kill(get(), &killed, &error) != RS_OK) return Error(error);
        return Reply(killed);
    }

    // The source of a script by its SHA1; no reply (false) when the server does not have the script. Valkey 8 and later.
    Reply script_show(std::string_view sha) const { return try_script_show(sha).value(); }
    Result<Reply> try_script_show(std::string_view sha) const {
        rs_reply *source = nullptr;
        rs_error *error = nullptr;
        if (rs_client_script_show(get(), sha.data(), sha.size(), &source, &error) != RS_OK) return Error(error);
        return Reply(source);
    }

    // Closes the client under all its handles. Calls in flight on other threads end at once, with RS_ERR_CLOSED or
    // RS_ERR_INDETERMINATE; later calls end with RS_ERR_CLOSED.
    void close() const noexcept { rs_client_close(get()); }

    // What its calls have cost.
    Stats stats() const noexcept {
        std::uint64_t v[RS_STAT_COUNT];
        rs_client_stats(get(), v, RS_STAT_COUNT);
        return {v[RS_STAT_CALLS],        v[RS_STAT_ROUND_TRIPS],      v[RS_STAT_BYTES_SENT],
                v[RS_STAT_BYTES_RECEIVED], v[RS_STAT_SCRIPT_LOADS],   v[RS_STAT_NOSCRIPT_REPAIRS],
                v[RS_STAT_RECONNECTS],   v[RS_STAT_REDIRECTS],        v[RS_STAT_IN_FLIGHT]};
    }

    // The handle, for functions of the C library; borrowed.
    rs_client *get() const noexcept { return handle_.get(); }

private:
    static Result<Client> open(std::string_view url, const rs_options *options) {
        rs_client *client = nullptr;
        rs_error *error = nullptr;
        if (rs_client_open(std::string(url).c_str(), options, &client, &error) != RS_OK) return Error(error);
        return Client(client);
    }

    Result<Client> view(const rs_call_options &options) const {
        rs_client *view = nullptr;
        rs_error *error = nullptr;
        if (rs_client_with(get(), &options, &view, &error) != RS_OK) return Error(error);
        return Client(view);
    }

    Result<Client> routed(std::int32_t route, std::string_view to, std::uint32_t slot = 0) const {
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        options.route = route;
        options.route_to = to.data();
        options.route_len = to.size();
        options.route_slot = slot;
        return view(options);
    }

    detail::Handle<rs_client, rs_client_free> handle_;
};

// What has become of a call that was submitted.
class Completion {
public:
    // Takes ownership of what is in a completion of the C library.
    explicit Completion(const rs_completion &completion)
        : tag_(completion.tag), reply_(completion.reply),
          error_(completion.error ? std::optional<Error>(Error(completion.error)) : std::nullopt) {}

    // The number that the call was submitted with.
    std::uint64_t tag() const noexcept { return tag_; }

    // Whether there is a reply and no error.
    bool ok() const noexcept { return !error_; }

    // RS_OK, or the error's.
    rs_status status() const noexcept { return error_ ? error_->status() : RS_OK; }

    // The reply; throws the error when there is one.
    const Reply &reply() const & {
        if (error_) detail::raise(*error_);
        return reply_;
    }
    Reply reply() && { return static_cast<const Completion &>(*this).reply(), std::move(reply_); }

    // Why there is no reply; empty when there is one.
    const std::optional<Error> &error() const noexcept { return error_; }

    // Of a pipeline that broke half-way: the replies of its first items, as far as they arrived. Otherwise nothing (false).
    ReplyView arrived() const & noexcept { return error_ ? reply_.view() : ReplyView(); }
    ReplyView arrived() const && = delete;

private:
    std::uint64_t tag_;
    Reply reply_;
    std::optional<Error> error_;
};

// Where calls end that nobody waits for: submit them with a tag, and take completions out whenever it suits.
//
//     rs::Queue queue(1000);
//     multiply.submit(queue, 7, {"foo"}, {"5"});
//     for (rs::Completion &done : queue.poll(100, -1)) std::cout << done.tag() << ' ' << done.reply().integer() << '\n'; // 7 10
//
// Every call that is accepted has exactly one completion: reply, error, deadline, cancellation, close. It outlives its clients.
class Queue {
public:
    // For up to `capacity` calls that are under way or wait to be taken out; above 0.
    explicit Queue(std::size_t capacity) : Queue(try_new(capacity).value()) {}
    static Result<Queue> try_new(std::size_t capacity) {
        rs_queue *queue = nullptr;
        rs_error *error = nullptr;
        if (rs_queue_new(capacity, 0, &queue, &error) != RS_OK) return Error(error);
        return Queue(queue);
    }

    // Takes ownership of a queue of the C library. (A template, so that 0 is a capacity and no pointer.)
    template <typename Native, std::enable_if_t<std::is_same<Native, rs_queue *>::value, int> = 0>
    explicit Queue(Native queue) noexcept : handle_(queue) {}

    // Takes up to `max` completions out, in the order in which they came, and waits for the first one: 0 does not wait, below 0 for ever.
    // Fewer than `max`: the queue was empty then.
    std::vector<Completion> poll(std::size_t max, std::int64_t timeout_ms) const { return try_poll(max, timeout_ms).value(); }
    Result<std::vector<Completion>> try_poll(std::size_t max, std::int64_t timeout_ms) const {
        std::vector<Completion> completions;
        Taking taking{completions, nullptr};
        rs_error *error = nullptr;
        const std::uint64_t patience = timeout_ms < 0 ? RS_FOREVER : static_cast<std::uint64_t>(timeout_ms);
        if (rs_queue_dispatch(get(), max, patience, take, &taking, nullptr, &error) != RS_OK) return Error(error);
#if defined(__cpp_exceptions)
        if (taking.thrown) std::rethrow_exception(taking.thrown);
#endif
        return completions;
    }

    // Wakes the threads that wait in poll: all return at once, maybe with nothing. The next poll that begins does not
    // wait either, and up to then the descriptor is readable. To stop threads use close, which all see.
    void wake() const noexcept { rs_queue_wake(get()); }

    // Ends the queue for good: nothing new is accepted (RS_ERR_CLOSED), every poll returns at once, and the descriptor
    // stays readable. Calls under way go on, and their completions can still be taken out.
    void close() const noexcept { rs_queue_close(get()); }

    // Whether it was closed.
    bool closed() const noexcept { return rs_queue_is_closed(get()); }

    // A descriptor that is readable while the queue holds completions, for poll, epoll, kqueue and every event loop; borrowed. Do not write to
    // it and do not close it. Take out until fewer come than were asked for. Also after wake, up to the next poll, and
    // for good after close.
    int fd() const noexcept { return rs_queue_fd(get()); }

    // How many calls are under way or wait to be taken out.
    std::size_t size() const noexcept { return rs_queue_len(get()); }

    // Whether there are none.
    bool empty() const noexcept { return size() == 0; }

    // The handle, for functions of the C library; borrowed.
    rs_queue *get() const noexcept { return handle_.get(); }

private:
    struct Taking {
        std::vector<Completion> &into;
        std::exception_ptr thrown;
    };

    // Nothing may be thrown through the C library.
    static void take(void *context, const rs_completion *completion) noexcept {
        Taking &taking = *static_cast<Taking *>(context);
#if defined(__cpp_exceptions)
        try {
            Completion taken(*completion);
            taking.into.push_back(std::move(taken));
        } catch (...) {
            taking.thrown = std::current_exception();
        }
#else
        taking.into.emplace_back(*completion);
#endif
    }

    detail::Handle<rs_queue, rs_queue_free> handle_;
};

// A Lua script, immutable, usable with any client, server and thread. It may go while other threads' calls are in flight.
class Script {
public:
    // Makes a script of exactly these bytes for calls on `client`. No I/O; whether it compiles shows at the first call. The script does not
    // keep the client open. `flags`: RS_SCRIPT_IDEMPOTENT or 0.
    Script(const Client &client, std::string_view lua, std::uint32_t flags = 0)
        : Script(try_register(client, lua, flags).value()) {}
    static Result<Script> try_register(const Client &client, std::string_view lua, std::uint32_t flags = 0) {
        return register_with(client.get(), lua, flags);
    }

    // The same for no client in particular: each call names one.
    explicit Script(std::string_view lua, std::uint32_t flags = 0) : Script(try_register(lua, flags).value()) {}
    static Result<Script> try_register(std::string_view lua, std::uint32_t flags = 0) {
        return register_with(nullptr, lua, flags);
    }

    // Takes ownership of a script of the C library.
    explicit Script(rs_script *script) noexcept : handle_(script) {}

    // The SHA1: 40 lower-case hexadecimal digits and a NUL; lives as long as the script.
    const char *sha() const noexcept { return rs_script_sha(get()); }

    // Calls the script with these keys (KEYS in Lua) and arguments (ARGV) and waits for its reply. It is loaded if need be, in the same
    // write. Sent again only when the server provably did not run it, or when the script is RS_SCRIPT_IDEMPOTENT.
    Reply call(const Strings &keys, const Strings &args) const { return try_call(keys, args).value(); }
    Result<Reply> try_call(const Strings &keys, const Strings &args) const {
        return run(0, nullptr, keys, args);
    }

    // The same on another client.
    Reply call(const Client &client, const Strings &keys, const Strings &args) const {
        return try_call(client, keys, args).value();
    }
    Result<Reply> try_call(const Client &client, const Strings &keys, const Strings &args) const {
        if (!client.get()) return client.try_command({}).error(); // to C it would mean the script's own client
        return run(0, client.get(), keys, args);
    }

    // Calls it read-only: the server stops it at its first write, and a call whose reply was lost is sent again.
    Reply call_ro(const Strings &keys, const Strings &args) const { return try_call_ro(keys, args).value(); }
    Result<Reply> try_call_ro(const Strings &keys, const Strings &args) const {
        return run(RS_CALL_READ_ONLY, nullptr, keys, args);
    }

    // The same on another client.
    Reply call_ro(const Client &client, const Strings &keys, const Strings &args) const {
        return try_call_ro(client, keys, args).value();
    }
    Result<Reply> try_call_ro(const Client &client, const Strings &keys, const Strings &args) const {
        if (!client.get()) return client.try_command({}).error(); // to C it would mean the script's own client
        return run(RS_CALL_READ_ONLY, client.get(), keys, args);
    }

    // Calls it without waiting: the reply will be in `queue`, under `tag`. An error means that the call was not accepted and has no
    // completion: RS_ERR_QUEUE_FULL, or what is wrong with the arguments.
    void submit(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args) const {
        try_submit(queue, tag, keys, args).value();
    }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args) const {
        return submit(0, nullptr, queue, tag, keys, args);
    }

    // The same on another client.
    void submit(const Client &client, const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args) const {
        try_submit(client, queue, tag, keys, args).value();
    }
    Result<void> try_submit(const Client &client, const Queue &queue, std::uint64_t tag, const Strings &keys,
                            const Strings &args) const {
        if (!client.get()) return client.try_command({}).error(); // to C it would mean the script's own client
        return submit(0, client.get(), queue, tag, keys, args);
    }

    // Submits it read-only: see call_ro.
    void submit_ro(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args) const {
        try_submit_ro(queue, tag, keys, args).value();
    }
    Result<void> try_submit_ro(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args) const {
        return submit(RS_CALL_READ_ONLY, nullptr, queue, tag, keys, args);
    }

    // The same on another client.
    void submit_ro(const Client &client, const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args) const {
        try_submit_ro(client, queue, tag, keys, args).value();
    }
    Result<void> try_submit_ro(const Client &client, const Queue &queue, std::uint64_t tag, const Strings &keys,
                               const Strings &args) const {
        if (!client.get()) return client.try_command({}).error(); // to C it would mean the script's own client
        return submit(RS_CALL_READ_ONLY, client.get(), queue, tag, keys, args);
    }

    // The handle, for functions of the C library; borrowed.
    const rs_script *get() const noexcept { return handle_.get(); }

private:
    static Result<Script> register_with(rs_client *client, std::string_view lua, std::uint32_t flags) {
        rs_script *script = nullptr;
        rs_error *error = nullptr;
        rs_script_options options = RS_SCRIPT_OPTIONS_INIT;
        options.flags = flags;
        if (rs_script_register(client, lua.data(), lua.size(), &options, &script, &error) != RS_OK) return Error(error);
        return Script(script);
    }

    Result<Reply> run(std::uint32_t flags, rs_client *client, const Strings &keys, const Strings &args) const {
        rs_reply *reply = nullptr;
        rs_error *error = nullptr;
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        options.flags = flags;
        if (rs_script_call(get(), client, keys.size(), keys.data(), keys.lengths(), args.size(), args.data(),
                           args.lengths(), flags ? &options : nullptr, &reply, &error) != RS_OK)
            return Error(error);
        return Reply(reply);
    }

    Result<void> submit(std::uint32_t flags, rs_client *client, const Queue &queue, std::uint64_t tag,
                        const Strings &keys, const Strings &args) const {
        rs_error *error = nullptr;
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        options.flags = flags;
        if (rs_script_submit(get(), client, keys.size(), keys.data(), keys.lengths(), args.size(), args.data(),
                             args.lengths(), flags ? &options : nullptr, queue.get(), tag, &error) != RS_OK)
            return Error(error);
        return {};
    }

    detail::Handle<rs_script, rs_script_free> handle_;
};

// Commands and script calls to be sent together and answered in order:
//
//     rs::Pipeline pipeline = client.pipeline(); // or client.transaction()
//     pipeline.command({"SET", "foo", "5"}).script(multiply, {"foo"}, {"5"});
//     rs::Reply replies = pipeline.exec(); // OK, 25
//
// Filling it does no I/O and copies what is handed in. It keeps its client open. One thread at a time.
class Pipeline {
public:
    // Takes ownership of a pipeline of the C library.
    explicit Pipeline(rs_pipeline *pipeline) noexcept : handle_(pipeline) {}

    // Appends a command. RS_ERR_COMMAND_REFUSED, and a pipeline as it was, for what would change the shared connection or keep the items
    // behind it waiting.
    Pipeline &command(const Strings &argv) { return try_command(argv).value(), *this; }
    Result<void> try_command(const Strings &argv) {
        rs_error *error = nullptr;
        if (rs_pipeline_command(get(), argv.size(), argv.data(), argv.lengths(), nullptr, &error) != RS_OK)
            return Error(error);
        return {};
    }

    // Appends a call of a script. It need not be loaded and may go at once.
    Pipeline &script(const Script &script, const Strings &keys, const Strings &args) {
        return try_script(script, keys, args).value(), *this;
    }
    Result<void> try_script(const Script &script, const Strings &keys, const Strings &args) {
        return append(0, script, keys, args);
    }

    // The same, read-only: the server stops the script at its first write.
    Pipeline &script_ro(const Script &script, const Strings &keys, const Strings &args) {
        return try_script_ro(script, keys, args).value(), *this;
    }
    Result<void> try_script_ro(const Script &script, const Strings &keys, const Strings &args) {
        return append(RS_CALL_READ_ONLY, script, keys, args);
    }

    // The number of items.
    std::size_t size() const noexcept { return rs_pipeline_len(get()); }

    // Whether there are no items.
    bool empty() const noexcept { return size() == 0; }

    // Takes all items out.
    void clear() noexcept { rs_pipeline_clear(get()); }

    // Sends the items in one write, with a SCRIPT LOAD for each script that the server lacks, and waits for their replies: an array with
    // one element an item, in order. An item's error is its element, see ReplyView::error. The pipeline is empty afterwards, whatever came of
    // it, and can be filled again.
    //
    // Of a transaction that fails with RS_ERR_TRANSACTION_ABORTED or RS_ERR_COMPILE nothing ran. Nothing is sent again once bytes of it were
    // sent, unless every item is a read-only call or one of an RS_SCRIPT_IDEMPOTENT script.
    Reply exec() { return try_exec().value(); }
    Result<Reply> try_exec() {
        rs_reply *replies = nullptr;
        rs_error *error = nullptr;
        arrived_ = Reply();
        const rs_status status = rs_pipeline_exec(get(), nullptr, &replies, &error);
        Reply received(replies);
        if (status == RS_OK) return received;
        arrived_ = std::move(received);
        return Error(error);
    }

    // Executes it without waiting: the replies will be in `queue`, under `tag`. An error means that it was not accepted and has no
    // completion: RS_ERR_QUEUE_FULL, or RS_ERR_INVALID_ARGUMENT for a pipeline without items. Empty once it is accepted; with an error it has its items still.
    void submit(const Queue &queue, std::uint64_t tag) { try_submit(queue, tag).value(); }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag) {
        rs_error *error = nullptr;
        if (rs_pipeline_submit(get(), nullptr, queue.get(), tag, &error) != RS_OK) return Error(error);
        return {};
    }

    // When the last exec failed half-way: the replies of its first items, as far as they arrived. Otherwise nothing (false).
    const Reply &arrived() const noexcept { return arrived_; }

    // The handle, for functions of the C library; borrowed.
    rs_pipeline *get() const noexcept { return handle_.get(); }

private:
    Result<void> append(std::uint32_t flags, const Script &script, const Strings &keys, const Strings &args) {
        rs_error *error = nullptr;
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        options.flags = flags;
        if (rs_pipeline_script(get(), script.get(), keys.size(), keys.data(), keys.lengths(), args.size(), args.data(),
                               args.lengths(), flags ? &options : nullptr, &error) != RS_OK)
            return Error(error);
        return {};
    }

    detail::Handle<rs_pipeline, rs_pipeline_free> handle_;
    Reply arrived_;
};

inline Result<void> Client::try_submit(const Queue &queue, std::uint64_t tag, const Strings &argv) const {
    rs_error *error = nullptr;
    if (rs_client_submit(get(), argv.size(), argv.data(), argv.lengths(), nullptr, queue.get(), tag, &error) != RS_OK)
        return Error(error);
    return {};
}

inline Result<std::size_t> Client::try_cancel(const Queue &queue, std::uint64_t tag) const {
    std::size_t count = 0;
    rs_error *error = nullptr;
    if (rs_client_cancel(get(), queue.get(), tag, &count, &error) != RS_OK) return Error(error);
    return count;
}

inline Result<Pipeline> Client::try_pipeline(std::uint32_t flags) const {
    rs_pipeline *pipeline = nullptr;
    rs_error *error = nullptr;
    if (rs_pipeline_new(get(), flags, &pipeline, &error) != RS_OK) return Error(error);
    return Pipeline(pipeline);
}

inline Pipeline Client::pipeline(std::uint32_t flags) const { return try_pipeline(flags).value(); }

inline Result<Pipeline> Client::try_transaction(std::uint32_t flags) const {
    return try_pipeline(flags | RS_PIPELINE_ATOMIC);
}

inline Pipeline Client::transaction(std::uint32_t flags) const { return try_transaction(flags).value(); }

inline Result<void> Client::try_script_load(const Script &script) const {
    rs_error *error = nullptr;
    if (rs_client_script_load(get(), script.get(), &error) != RS_OK) return Error(error);
    return {};
}

// The version of the library that is loaded, such as `1.2.3`. Compare with RS_VERSION of the header.
inline const char *version() noexcept { return rs_version(); }

} // namespace rs

#endif // RS_SCRIPT_HPP
