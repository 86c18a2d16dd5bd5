// Replies as values of C++: what as<T>() and try_as<T>() give.
//
//   T                                     of
//   integers                              an integer, or a text that is one in decimal form; within T's range
//   float, double                         a double, an integer, or a text that is a number; within T's range
//   bool                                  a boolean, or an integer: whether it is not 0; nil is false, because servers
//                                         send that for Lua's false
//   std::string                           a string, status, verbatim text or big number; a number in its decimal form
//   std::vector<std::byte>                the same, as bytes
//   std::optional<T>                      nil, or what T is of
//   std::vector, list, deque, ...         an array or set
//   std::set, unordered_set               an array or set
//   std::map, unordered_map, ...          a map (RESP3); an array of keys and values in turn (RESP2), or of arrays of
//                                         a key and a value
//   std::vector<std::pair<K, V>>          the same, in the server's order
//   std::pair, tuple, array               an array of exactly so many elements
//
// and all of these nested. For a type of yours specialize rs::Conversion:
//
//     template <> struct rs::Conversion<Point> {
//         static rs::Result<Point> of(rs::ReplyView reply) {
//             return reply.try_as<std::pair<int, int>>().transform(
//                 [](auto xy) { return Point{xy.first, xy.second}; });
//         }
//     };
//
// What does not fit is an Error of status RS_ERR_INVALID_ARGUMENT. The call was executed all the same, and
// is_not_executed is false. It says where, what was found, and what was wanted, and never the value: "element 1 of the
// reply is an array, not an integer". An error reply is its own Error.

#ifndef RS_SCRIPT_CONVERT_HPP
#define RS_SCRIPT_CONVERT_HPP

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <rs_script/reply.hpp>
#include <rs_script/strings.hpp>

namespace rs {

// To be specialized for types of a program's own; see above.
template <class T, class = void> struct Conversion;

namespace detail {

template <class T, class = void> inline constexpr bool has_conversion = false;
template <class T>
inline constexpr bool has_conversion<T, std::void_t<decltype(Conversion<T>::of(std::declval<ReplyView>()))>> = true;

template <class T> inline constexpr bool is_optional = false;
template <class T> inline constexpr bool is_optional<std::optional<T>> = true;

template <class T, class = void> inline constexpr bool is_map = false;
template <class T> inline constexpr bool is_map<T, std::void_t<typename T::key_type, typename T::mapped_type>> = true;

template <class T, class = void> inline constexpr bool is_set = false;
template <class T> inline constexpr bool is_set<T, std::void_t<typename T::key_type>> = !is_map<T>;

template <class T, class = void> inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<T, std::void_t<typename T::value_type, decltype(std::declval<T &>().push_back(
                                                                         std::declval<typename T::value_type>()))>> =
    true;

template <class T, class = void> inline constexpr bool is_tuple = false;
template <class T> inline constexpr bool is_tuple<T, std::void_t<decltype(std::tuple_size<T>::value)>> = true;

template <class T> inline constexpr bool is_pair = false;
template <class K, class V> inline constexpr bool is_pair<std::pair<K, V>> = true;

template <class T> inline constexpr bool is_byte_string = false;
template <class A> inline constexpr bool is_byte_string<std::vector<std::byte, A>> = true;

template <class T> inline constexpr bool is_convertible_from_reply = false;

// What holds elements, and is then no key or value that stands alone.
template <class T> inline constexpr bool is_aggregate = is_map<T> || is_set<T> || is_tuple<T> ||
                                                        (is_list<T> && !std::is_same_v<T, std::string>);

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
        return "element " + std::to_string(index) + " of " + (outer ? outer->text() : std::string("the reply"));
    }
};

// `more`: what there is to say about what was found, beyond its type.
inline Error unfit(ReplyView reply, const Path *path, const std::string &wanted, const char *more = "") {
    if (std::optional<Error> error = reply.error()) return *std::move(error);
    return Error(RS_ERR_INVALID_ARGUMENT, (path ? path->text() : std::string("the reply")) + " is " +
                                              type_name(reply.type()) + more + ", not " + wanted);
}

inline bool has_text(std::int32_t type) noexcept {
    return type == RS_REPLY_STRING || type == RS_REPLY_STATUS || type == RS_REPLY_VERBATIM ||
           type == RS_REPLY_BIG_NUMBER;
}

// The whole text as a number; none where it is something else or out of the type's range.
template <class T> std::optional<T> number_in(std::string_view text) {
    T number{};
#if !defined(__cpp_lib_to_chars)
    if constexpr (std::is_floating_point_v<T>) {
        const bool is_negative = !text.empty() && text.front() == '-';
        const std::string_view word = text.substr(is_negative ? 1 : 0);
        if (word == "inf")
            return is_negative ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
        if (word == "nan") return std::numeric_limits<T>::quiet_NaN();
        // What a stream would take besides: blanks in front, a plus, hexadecimal digits.
        if (word.empty() || word.find_first_not_of("0123456789.eE+-") != std::string_view::npos || word.front() == '+')
            return std::nullopt;
        if (!read_floating_text(std::string(text), number)) return std::nullopt;
        return number;
    } else
#endif
    {
        const char *const last = text.data() + text.size();
        const std::from_chars_result end = std::from_chars(text.data(), last, number);
        if (end.ec != std::errc() || end.ptr != last) return std::nullopt;
        return number;
    }
}

template <class T> Result<T> read(ReplyView reply, const Path *path);

template <class T> Result<T> read_integer(ReplyView reply, const Path *path) {
    using Limits = std::numeric_limits<T>;
    const auto fails = [&](const char *more) {
        return unfit(reply, path,
                     "an integer from " + std::to_string(Limits::min()) + " to " + std::to_string(Limits::max()),
                     more);
    };
    if (reply.type() == RS_REPLY_INTEGER) {
        const std::int64_t value = reply.integer();
        const bool fits = value < 0 ? std::is_signed_v<T> && value >= static_cast<std::int64_t>(Limits::min())
                                    : static_cast<std::uint64_t>(value) <= static_cast<std::uint64_t>(Limits::max());
        return fits ? Result<T>(static_cast<T>(value)) : Result<T>(fails(" out of range"));
    }
    if (!has_text(reply.type())) return fails("");
    if (const std::optional<T> number = number_in<T>(reply.string())) return *number;
    return fails(" that is no such number");
}

template <class T> Result<T> read_floating(ReplyView reply, const Path *path) {
    if (reply.type() == RS_REPLY_INTEGER || reply.type() == RS_REPLY_DOUBLE) {
        const double value = reply.number();
        if (std::isfinite(value) && std::abs(value) > static_cast<long double>(std::numeric_limits<T>::max()))
            return unfit(reply, path, "one in the range of the type asked for", " out of range");
        return static_cast<T>(value);
    }
    if (!has_text(reply.type())) return unfit(reply, path, "a number");
    if (const std::optional<T> number = number_in<T>(reply.string())) return *number;
    return unfit(reply, path, "a number", " that is no such number");
}

template <class T> Result<T> read_bytes(ReplyView reply, const Path *path) {
    const Result<std::string> text = read<std::string>(reply, path);
    if (!text) return text.error();
    T bytes(text->size());
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((*text)[i]);
    return bytes;
}

template <class T> Result<T> read_elements(ReplyView reply, const Path *path) {
    T list;
    Path place{path, 0};
    for (ReplyView element : reply) {
        Result<typename T::value_type> value = read<typename T::value_type>(element, &place);
        if (!value) return std::move(value).error();
        if constexpr (is_set<T>) list.insert(*std::move(value));
        else list.push_back(*std::move(value));
        ++place.index;
    }
    return list;
}

// Whether the elements are arrays of a key and a value each, where the key is no array itself.
template <class K> bool has_nested_pairs(ReplyView reply) noexcept {
    return reply.type() == RS_REPLY_ARRAY && reply[0].type() == RS_REPLY_ARRAY && !is_aggregate<K>;
}

// Whether the elements are keys and values, in turn or in arrays of both.
template <class K> bool has_pairs(ReplyView reply) noexcept {
    return reply.type() == RS_REPLY_MAP ||
           (reply.type() == RS_REPLY_ARRAY && (reply.size() % 2 == 0 || has_nested_pairs<K>(reply)));
}

template <class T, class K, class V, class Add> Result<T> read_pairs(ReplyView reply, const Path *path, Add add) {
    T pairs;
    Path place{path, 0};
    const bool is_nested = has_nested_pairs<K>(reply);
    for (auto next = reply.begin(); next != reply.end(); ++next, ++place.index) {
        if (is_nested) {
            Result<std::pair<K, V>> pair = read<std::pair<K, V>>(*next, &place);
            if (!pair) return std::move(pair).error();
            add(pairs, std::move(pair->first), std::move(pair->second));
            continue;
        }
        Result<K> key = read<K>(*next, &place);
        if (!key) return std::move(key).error();
        ++next, ++place.index;
        Result<V> value = read<V>(*next, &place);
        if (!value) return std::move(value).error();
        add(pairs, *std::move(key), *std::move(value));
    }
    return pairs;
}

template <class T> Result<T> read_map(ReplyView reply, const Path *path) {
    using K = typename T::key_type;
    using V = typename T::mapped_type;
    if (!has_pairs<K>(reply))
        return unfit(reply, path, "a map", reply.type() == RS_REPLY_ARRAY ? " of an odd number of elements" : "");
    return read_pairs<T, K, V>(reply, path,
                               [](T &map, K &&key, V &&value) { map.emplace(std::move(key), std::move(value)); });
}

template <class T> Result<T> read_list(ReplyView reply, const Path *path) {
    using Value = typename T::value_type;
    if constexpr (is_pair<Value>) {
        using K = typename Value::first_type;
        using V = typename Value::second_type;
        if (has_pairs<K>(reply) && !has_nested_pairs<K>(reply))
            return read_pairs<T, K, V>(reply, path, [](T &list, K &&key, V &&value) {
                if constexpr (is_set<T>) list.emplace(std::move(key), std::move(value));
                else list.emplace_back(std::move(key), std::move(value));
            });
    }
    if (reply.type() != RS_REPLY_ARRAY && reply.type() != RS_REPLY_SET) return unfit(reply, path, "an array");
    return read_elements<T>(reply, path);
}

template <class T, std::size_t... Index>
Result<T> read_tuple(ReplyView reply, const Path *path, std::index_sequence<Index...>) {
    const std::string wanted = "an array of " + std::to_string(sizeof...(Index));
    if (reply.type() != RS_REPLY_ARRAY) return unfit(reply, path, wanted);
    if (reply.size() != sizeof...(Index))
        return unfit(reply, path, wanted, (" of " + std::to_string(reply.size())).c_str());
    std::optional<Error> failed;
    std::tuple<std::optional<std::tuple_element_t<Index, T>>...> values;
    [[maybe_unused]] const auto one = [&](auto &into, std::size_t index) {
        if (failed) return;
        const Path place{path, index};
        auto value = read<typename plain_t<decltype(into)>::value_type>(reply[index], &place);
        if (value) into.emplace(*std::move(value));
        else failed = std::move(value).error();
    };
    (one(std::get<Index>(values), Index), ...);
    if (failed) return *std::move(failed);
    return T{*std::move(std::get<Index>(values))...};
}

template <class T> Result<T> read(ReplyView reply, const Path *path) {
    static_assert(!std::is_same_v<T, std::string_view> && !std::is_same_v<T, ReplyView> && !std::is_pointer_v<T>,
                  "as<T> copies: ask for std::string; string() of a reply with a name borrows");
    if constexpr (has_conversion<T>) {
        return Conversion<T>::of(reply);
    } else if constexpr (is_optional<T>) {
        if (reply.is_nil()) return T();
        Result<typename T::value_type> value = read<typename T::value_type>(reply, path);
        if (!value) return std::move(value).error();
        return T(*std::move(value));
    } else if constexpr (std::is_same_v<T, bool>) {
        if (reply.type() == RS_REPLY_BOOLEAN || reply.type() == RS_REPLY_INTEGER || reply.is_nil())
            return reply.boolean();
        return unfit(reply, path, "a boolean");
    } else if constexpr (std::is_floating_point_v<T>) {
        return read_floating<T>(reply, path);
    } else if constexpr (is_number<T>) {
        return read_integer<T>(reply, path);
    } else if constexpr (std::is_same_v<T, std::string>) {
        if (reply.type() == RS_REPLY_INTEGER) return std::to_string(reply.integer());
        if (has_text(reply.type()) || reply.type() == RS_REPLY_DOUBLE) return std::string(reply.string());
        return unfit(reply, path, "a string");
    } else if constexpr (is_byte_string<T>) {
        return read_bytes<T>(reply, path);
    } else if constexpr (is_map<T>) {
        return read_map<T>(reply, path);
    } else if constexpr (is_set<T> || is_list<T>) {
        return read_list<T>(reply, path);
    } else if constexpr (is_tuple<T>) {
        return read_tuple<T>(reply, path, std::make_index_sequence<std::tuple_size_v<T>>());
    } else {
        static_assert(is_convertible_from_reply<T>,
                      "a reply does not convert to this type; specialize rs::Conversion for it");
    }
}

template <class T> T View::as() const { return try_as<T>().value(); }
template <class T> Result<T> View::try_as() const { return read<T>(ReplyView(reply_), nullptr); }

} // namespace detail
} // namespace rs

#endif // RS_SCRIPT_CONVERT_HPP
