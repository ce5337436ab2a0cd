%% @private JSON, by OTP's own module where there is one (27 and later).
%%
%% Objects are maps with binary keys (atoms and numbers are taken as keys too),
%% arrays lists, strings UTF-8 binaries. `true', `false' and `null' are atoms; so
%% that null is the same everywhere, `undefined' and `nil' are written as null.
%% Any other atom is written as a string.
-module(crema_json).

-export([encode/1, decode/1]).

%% @doc A term as JSON; `{error, Reason}' for one that JSON has no form for.
-spec encode(term()) -> {ok, iodata()} | {error, Reason :: term()}.
encode(Term) ->
    try
        {ok, write(Term)}
    catch
        error:Reason -> {error, Reason}
    end.

%% @doc The term that a text in JSON stands for, nothing before or behind it.
-spec decode(binary()) -> {ok, term()} | {error, Reason :: term()}.
decode(Text) when is_binary(Text) ->
    try
        {ok, read(Text)}
    catch
        error:Reason -> {error, Reason}
    end.

-if(?OTP_RELEASE >= 27).

-spec write(term()) -> iodata().
write(Term) -> json:encode(Term, fun write/2).

-spec write(term(), json:encoder()) -> iodata().
write(Null, _) when Null =:= undefined; Null =:= nil -> <<"null">>;
write(Value, Encoder) -> json:encode_value(Value, Encoder).

%% Of a name that an object has twice the last counts, as it does elsewhere.
-spec read(binary()) -> term().
read(Text) ->
    Finish = fun(Pairs, Outer) -> {maps:from_list(lists:reverse(Pairs)), Outer} end,
    case json:decode(Text, ok, #{object_finish => Finish}) of
        {Term, ok, <<>>} -> Term;
        {_, ok, <<Byte, _/binary>>} -> error({invalid_byte, Byte})
    end.

-else.

-spec write(term()) -> iodata().
write(Term) -> crema_json_text:encode(Term).

-spec read(binary()) -> term().
read(Text) -> crema_json_text:decode(Text).

-endif.
