%% @private JSON (RFC 8259) for OTP before 27, whose module `json' does the same:
%% objects are maps with binary keys, arrays lists, strings UTF-8 binaries, and
%% `true', `false' and `null' are atoms. Both raise on what cannot be.
-module(crema_json_text).

-export([encode/1, decode/1]).

-define(IS_SPACE(C), C =:= $\s; C =:= $\t; C =:= $\n; C =:= $\r).
-define(IS_DIGIT(C), C >= $0, C =< $9).

%% @doc Raises `{unsupported, Term}' or `{invalid_utf8, Binary}'.
-spec encode(term()) -> iodata().
encode(true) -> <<"true">>;
encode(false) -> <<"false">>;
encode(Null) when Null =:= null; Null =:= undefined; Null =:= nil -> <<"null">>;
encode(Atom) when is_atom(Atom) -> text(atom_to_binary(Atom));
encode(Binary) when is_binary(Binary) -> text(Binary);
encode(Integer) when is_integer(Integer) -> integer_to_binary(Integer);
encode(Float) when is_float(Float) -> float_to_binary(Float, [short]);
encode([]) -> <<"[]">>;
encode([First | Rest]) when is_list(Rest) ->
    [$[, encode(First), [[$,, encode(Element)] || Element <- Rest], $]];
encode(Map) when is_map(Map) ->
    Members = [[text(key(Key)), $:, encode(Value)] || {Key, Value} <- maps:to_list(Map)],
    [${, lists:join($,, Members), $}];
encode(Other) ->
    error({unsupported, Other}).

-spec key(term()) -> binary().
key(Key) when is_binary(Key) -> Key;
key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(Key) when is_integer(Key) -> integer_to_binary(Key);
key(Key) when is_float(Key) -> float_to_binary(Key, [short]);
key(Key) -> error({unsupported, Key}).

-spec text(binary()) -> iodata().
text(Binary) ->
    [$", escaped(Binary, Binary, 0), $"].

%% Runs of characters that stand for themselves stay parts of the binary.
-spec escaped(binary(), binary(), non_neg_integer()) -> iodata().
escaped(Rest, Run, Length) ->
    case Rest of
        <<C, More/binary>> when C =:= $"; C =:= $\\; C < 32 ->
            [binary:part(Run, 0, Length), escape(C) | escaped(More, More, 0)];
        <<C/utf8, More/binary>> ->
            escaped(More, Run, Length + byte_size(<<C/utf8>>));
        <<>> ->
            Run;
        _ ->
            error({invalid_utf8, Run})
    end.

-spec escape(char()) -> iodata().
escape($") -> "\\\"";
escape($\\) -> "\\\\";
escape($\n) -> "\\n";
escape($\r) -> "\\r";
escape($\t) -> "\\t";
escape(C) -> io_lib:format("\\u~4.16.0b", [C]).

%% @doc Raises `{unexpected, Position}', the position in bytes.
-spec decode(binary()) -> term().
decode(Text) ->
    try
        {Value, Rest} = value(space(Text)),
        case space(Rest) of
            <<>> -> Value;
            Behind -> throw({unexpected, Behind})
        end
    catch
        throw:{unexpected, Left} -> error({unexpected, byte_size(Text) - byte_size(Left)})
    end.

-spec space(binary()) -> binary().
space(<<C, Rest/binary>>) when ?IS_SPACE(C) -> space(Rest);
space(Rest) -> Rest.

-spec value(binary()) -> {term(), binary()}.
value(<<$", Rest/binary>>) -> string(Rest, []);
value(<<${, Rest/binary>>) -> object(space(Rest));
value(<<$[, Rest/binary>>) -> array(space(Rest));
value(<<"true", Rest/binary>>) -> {true, Rest};
value(<<"false", Rest/binary>>) -> {false, Rest};
value(<<"null", Rest/binary>>) -> {null, Rest};
value(Rest) -> number(Rest).

-spec array(binary()) -> {[term()], binary()}.
array(<<$], Rest/binary>>) -> {[], Rest};
array(Rest) -> elements(Rest, []).

-spec elements(binary(), [term()]) -> {[term()], binary()}.
elements(Text, Acc) ->
    {Value, Rest} = value(Text),
    case space(Rest) of
        <<$,, More/binary>> -> elements(space(More), [Value | Acc]);
        <<$], More/binary>> -> {lists:reverse(Acc, [Value]), More};
        Other -> throw({unexpected, Other})
    end.

-spec object(binary()) -> {map(), binary()}.
object(<<$}, Rest/binary>>) -> {#{}, Rest};
object(Rest) -> members(Rest, #{}).

%% Of members with one name the last counts.
-spec members(binary(), map()) -> {map(), binary()}.
members(<<$", Text/binary>>, Acc) ->
    {Name, Behind} = string(Text, []),
    {Value, Rest} = value(space(expect($:, space(Behind)))),
    Map = Acc#{Name => Value},
    case space(Rest) of
        <<$,, More/binary>> -> members(space(More), Map);
        <<$}, More/binary>> -> {Map, More};
        Other -> throw({unexpected, Other})
    end;
members(Other, _Acc) ->
    throw({unexpected, Other}).

-spec expect(char(), binary()) -> binary().
expect(C, <<C, Rest/binary>>) -> Rest;
expect(_, Other) -> throw({unexpected, Other}).

-spec string(binary(), iodata()) -> {binary(), binary()}.
string(Text, Acc) ->
    Length = plain(Text, 0),
    <<Plain:Length/binary, Rest/binary>> = Text,
    case Rest of
        <<$", More/binary>> ->
            {iolist_to_binary([Acc | Plain]), More};
        <<$\\, Escape/binary>> ->
            {Char, More} = unescape(Escape, Rest),
            string(More, [Acc, Plain | <<Char/utf8>>]);
        _ ->
            throw({unexpected, Rest})
    end.

%% How many bytes stand for themselves.
-spec plain(binary(), non_neg_integer()) -> non_neg_integer().
plain(<<C, Rest/binary>>, N) when C >= 32, C < 128, C =/= $", C =/= $\\ -> plain(Rest, N + 1);
plain(<<C/utf8, Rest/binary>>, N) when C >= 128 -> plain(Rest, N + byte_size(<<C/utf8>>));
plain(_, N) -> N.

-spec unescape(binary(), At :: binary()) -> {char(), binary()}.
unescape(<<C, Rest/binary>>, _) when C =:= $"; C =:= $\\; C =:= $/ -> {C, Rest};
unescape(<<$b, Rest/binary>>, _) -> {$\b, Rest};
unescape(<<$f, Rest/binary>>, _) -> {$\f, Rest};
unescape(<<$n, Rest/binary>>, _) -> {$\n, Rest};
unescape(<<$r, Rest/binary>>, _) -> {$\r, Rest};
unescape(<<$t, Rest/binary>>, _) -> {$\t, Rest};
unescape(<<$u, Hex:4/binary, Rest/binary>>, At) -> unicode(hex(Hex, At), Rest, At);
unescape(_, At) -> throw({unexpected, At}).

%% Beyond the first 65536 characters a pair of surrogates stands for one; alone
%% none of them is a character.
-spec unicode(non_neg_integer(), binary(), binary()) -> {char(), binary()}.
unicode(High, <<"\\u", Hex:4/binary, Rest/binary>>, At) when High >= 16#D800, High < 16#DC00 ->
    case hex(Hex, At) of
        Low when Low >= 16#DC00, Low < 16#E000 ->
            {16#10000 + ((High band 16#3FF) bsl 10) + (Low band 16#3FF), Rest};
        _ ->
            throw({unexpected, At})
    end;
unicode(Surrogate, _, At) when Surrogate >= 16#D800, Surrogate < 16#E000 ->
    throw({unexpected, At});
unicode(Char, Rest, _) ->
    {Char, Rest}.

-spec hex(binary(), binary()) -> non_neg_integer().
hex(Digits, At) ->
    lists:foldl(fun(C, Sum) -> Sum * 16 + hex_digit(C, At) end, 0, binary_to_list(Digits)).

-spec hex_digit(byte(), binary()) -> 0..15.
hex_digit(C, _) when ?IS_DIGIT(C) -> C - $0;
hex_digit(C, _) when C >= $a, C =< $f -> C - $a + 10;
hex_digit(C, _) when C >= $A, C =< $F -> C - $A + 10;
hex_digit(_, At) -> throw({unexpected, At}).

-spec number(binary()) -> {number(), binary()}.
number(Text) ->
    Whole = whole(sign(Text), Text),
    case {fraction(Whole), Whole} of
        {Whole, _} ->
            case exponent(Whole) of
                Whole -> {binary_to_integer(before(Text, Whole)), Whole};
                %% Erlang's floats want a point.
                Rest -> float_of([before(Text, Whole), ".0", before(Whole, Rest)], Rest, Text)
            end;
        {Fraction, _} ->
            Rest = exponent(Fraction),
            float_of(before(Text, Rest), Rest, Text)
    end.

-spec before(binary(), binary()) -> binary().
before(Text, Rest) ->
    binary:part(Text, 0, byte_size(Text) - byte_size(Rest)).

-spec float_of(iodata(), binary(), binary()) -> {float(), binary()}.
float_of(Digits, Rest, At) ->
    try
        {binary_to_float(iolist_to_binary(Digits)), Rest}
    catch
        %% Too large.
        error:badarg -> throw({unexpected, At})
    end.

-spec sign(binary()) -> binary().
sign(<<$-, Rest/binary>>) -> Rest;
sign(Rest) -> Rest.

-spec whole(binary(), binary()) -> binary().
whole(<<$0, Rest/binary>>, _) -> Rest;
whole(Digits, At) -> digits(Digits, At).

-spec fraction(binary()) -> binary().
fraction(<<$., Digits/binary>>) -> digits(Digits, Digits);
fraction(Rest) -> Rest.

-spec exponent(binary()) -> binary().
exponent(<<E, Sign, Digits/binary>>) when
    E =:= $e orelse E =:= $E, Sign =:= $+ orelse Sign =:= $-
->
    digits(Digits, Digits);
exponent(<<E, Digits/binary>>) when E =:= $e; E =:= $E ->
    digits(Digits, Digits);
exponent(Rest) ->
    Rest.

%% One digit or more.
-spec digits(binary(), binary()) -> binary().
digits(<<C, Rest/binary>>, _) when ?IS_DIGIT(C) -> more_digits(Rest);
digits(_, At) -> throw({unexpected, At}).

-spec more_digits(binary()) -> binary().
more_digits(<<C, Rest/binary>>) when ?IS_DIGIT(C) -> more_digits(Rest);
more_digits(Rest) -> Rest.
