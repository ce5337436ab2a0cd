%% @doc crema's errors: `{error, {Code, Details}}' everywhere.
%%
%% `Code' is an atom: librdkafka's own name in lower case (`msg_timed_out') or
%% one of crema's (`closed', `stale_assignment'). `Details' always has `message',
%% which says what happened and what to do about it, and where they apply the
%% other keys of {@link details()}.
-module(crema_error).

-export([make/3, make/4, from_kafka/3, code/1, hint/1, format/1]).
-export([badarg/1, format_error/2, text/1]).

-export_type([error/0, reason/0, code/0, details/0, status/0]).

-type code() :: atom().

-type status() :: not_persisted | possibly_persisted | persisted.
%% Whether a message is in the log: for the first a repeat cannot duplicate it.

-type details() :: #{
    message := binary(),
    %% The same call may succeed later.
    retriable => boolean(),
    %% The client is of no more use and is rebuilt or stopped.
    fatal => boolean(),
    %% The transaction must be aborted; it may then be repeated.
    abortable => boolean(),
    status => status(),
    %% The message was refused when it was produced: no broker has seen it.
    sent => false,
    topic => binary(),
    partition => integer(),
    %% The part of a message or of the options that is wrong.
    field => term(),
    %% The position of a wrong message in a call's list, from 0.
    index => non_neg_integer(),
    atom() => term()
}.

-type reason() :: {code(), details()}.
-type error() :: {error, reason()}.

%% The longest name librdkafka 2.15 has is of 39 characters.
-define(MAX_NAME, 64).

%% @private An error. The hint of the code, if there is one, is appended to the
%% message (once). `Extra' holds the other details; a `message' in it is ignored.
-spec make(code(), Message :: unicode:chardata(), Extra :: map()) -> error().
make(Code, Message, Extra) ->
    make(Code, Message, Extra, hint(Code)).

%% @private The same with a hint that knows more than the code tells.
-spec make(code(), Message :: unicode:chardata(), Extra :: map(), Hint :: binary()) -> error().
make(Code, Message, Extra, Hint) when is_atom(Code), is_map(Extra) ->
    {error, {Code, Extra#{message => advise(text(Message), Hint)}}}.

%% @private What `erlang:error(badarg, Args, _)' takes, for shells and Elixir to say
%% what is wrong with which argument.
-spec badarg(#{pos_integer() => binary()}) -> [{error_info, map()}].
badarg(Wrong) ->
    [{error_info, #{module => ?MODULE, cause => Wrong}}].

%% @private Called by those who show an exception.
-spec format_error(term(), [tuple()]) -> map().
format_error(_Reason, [{_, _, _, Location} | _]) ->
    case lists:keyfind(error_info, 1, Location) of
        {_, #{cause := Wrong}} -> Wrong;
        _ -> #{}
    end.

%% @private The error for one of librdkafka's: its name (`<<"_MSG_TIMED_OUT">>', as
%% `rd_kafka_err2name' gives it), and its description.
-spec from_kafka(Name :: binary(), Description :: unicode:chardata(), Extra :: map()) -> error().
from_kafka(Name, Description, Extra) ->
    case code(Name) of
        unknown when Name =/= <<"UNKNOWN">> ->
            make(unknown, [text(Description), " (", text(Name), ")"], Extra);
        Code ->
            make(Code, Description, Extra)
    end.

%% @private The code for librdkafka's name of an error: lower case, without the
%% underscore that marks its local errors. `unknown' for a name it cannot have.
-spec code(Name :: binary()) -> code().
code(<<"_", Name/binary>>) -> code(Name);
code(Name) when byte_size(Name) > 0, byte_size(Name) =< ?MAX_NAME ->
    case is_name(Name) of
        %% The only place where crema makes atoms from data. The names come from
        %% a table compiled into librdkafka, some 150 of them, and never from the
        %% network; a code it has no name for reads "ERR_123?" and fails the check.
        true -> binary_to_atom(string:lowercase(Name));
        false -> unknown
    end;
code(_) -> unknown.

-spec is_name(binary()) -> boolean().
is_name(Name) ->
    lists:all(
        fun(C) -> (C >= $A andalso C =< $Z) orelse (C >= $0 andalso C =< $9) orelse C =:= $_ end,
        binary_to_list(Name)
    ).

%% @private Bytes that are no UTF-8 are read as Latin-1, so that a message is always
%% text: descriptions may quote names that brokers or users sent.
-spec text(unicode:chardata()) -> binary().
text(Chars) ->
    try
        case unicode:characters_to_binary(Chars) of
            Text when is_binary(Text) -> Text;
            _ -> unicode:characters_to_binary(iolist_to_binary(Chars), latin1)
        end
    catch
        error:badarg -> unicode:characters_to_binary(io_lib:format("~0tp", [Chars]))
    end.

-spec advise(binary(), binary()) -> binary().
advise(Message, <<>>) ->
    Message;
advise(Message, Hint) ->
    case binary:longest_common_suffix([Message, Hint]) =:= byte_size(Hint) of
        true -> Message;
        false -> <<(sentence(trimmed(Message)))/binary, " ", Hint/binary>>
    end.

%% string:trim/3 takes ten times as long as all the rest of an error.
-spec trimmed(binary()) -> binary().
trimmed(Text) ->
    Size = byte_size(Text) - 1,
    case Text of
        <<Before:Size/binary, C>> when C =:= $.; C =:= $\s; C =:= $\n -> trimmed(Before);
        _ -> Text
    end.

-spec sentence(binary()) -> binary().
sentence(Text) ->
    case binary:last(<<".", Text/binary>>) of
        $? -> Text;
        _ -> <<Text/binary, ".">>
    end.

%% @doc What to do about an error, as a sentence; empty when the code says it all. An
%% error may be made for each of many thousand messages: the tables are literals.
-spec hint(code()) -> binary().
hint(Code) ->
    case crema_error_table:find(Code) of
        {ok, {_, _, Hint}} -> Hint;
        none -> <<>>
    end.

%% @doc An error as a sentence for people: code, message, where, and whether the
%% message may be in the log. Takes an error, its reason or any other term (which
%% is printed without secrets); never raises.
-spec format(error() | reason() | term()) -> binary().
format({error, Reason}) ->
    format(Reason);
format({Code, #{message := Message} = Details}) when is_atom(Code), is_binary(Message) ->
    Where = lists:join(", ", lists:append([part(Key, Details) || Key <- parts()])),
    text([atom_to_binary(Code), ": ", text(Message) | bracketed(Where)]);
format(Other) ->
    text(io_lib:format("~0tp", [crema_secret:redact(Other)])).

-spec parts() -> [atom()].
parts() -> [topic, partition, index, field, status, retriable, fatal, abortable].

-spec bracketed([iodata()]) -> iodata().
bracketed([]) -> [];
bracketed(Where) -> [" (", Where, ")"].

-spec part(atom(), map()) -> [unicode:chardata()].
part(Key, Details) ->
    case Details of
        #{Key := Value} -> phrase(Key, Value);
        #{} -> []
    end.

-spec phrase(atom(), term()) -> [unicode:chardata()].
phrase(status, not_persisted) -> ["not in the log"];
phrase(status, possibly_persisted) -> ["possibly in the log"];
phrase(status, persisted) -> ["in the log"];
phrase(topic, Topic) when is_binary(Topic) -> [["topic ", text(Topic)]];
phrase(retriable, true) -> ["may succeed later"];
phrase(fatal, true) -> ["fatal"];
phrase(abortable, true) -> ["abort the transaction"];
phrase(Flag, _) when Flag =:= retriable; Flag =:= fatal; Flag =:= abortable -> [];
phrase(Key, Value) -> [[atom_to_binary(Key), " ", crema_input:show(Value)]].
