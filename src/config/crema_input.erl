%% @private Reads what a person typed as configuration: texts and lists of pairs, in
%% the forms that Erlang and Elixir programs write them.
-module(crema_input).

-export([text/1, lower/1, pairs/1, is_proper/1, show/1, no_value/0]).

-export_type([fault/0]).

-type fault() :: #{option := term(), reason := binary(), value => term()}.
%% One wrong option. `option' is the key as it was given, `{kafka, Key}' for a
%% librdkafka property, `{element, N}' for the N-th element of a list that is
%% no pair. `value' is absent where it may hold a secret.

-define(MAX_SHOWN, 80).

%% @doc Text as a person types it, as a binary: a binary is kept, an atom named,
%% a string or iodata joined (characters become UTF-8).
%%
%% `error' for anything else, for `undefined' and `nil' (an unset variable,
%% never a name) and for a zero byte, at which C would cut the text silently.
-spec text(term()) -> {ok, binary()} | error.
text(Absent) when Absent =:= undefined; Absent =:= nil -> error;
text(Text) when is_binary(Text) -> no_zero_byte(Text);
text(Atom) when is_atom(Atom) -> no_zero_byte(atom_to_binary(Atom));
text(List) when is_list(List) -> list_text(List);
text(_) -> error.

-spec list_text(maybe_improper_list()) -> {ok, binary()} | error.
list_text(List) ->
    try
        case unicode:characters_to_binary(List) of
            Text when is_binary(Text) -> no_zero_byte(Text);
            %% Bytes that are no UTF-8 are iodata: taken as they are.
            _ -> no_zero_byte(iolist_to_binary(List))
        end
    catch
        error:badarg -> error
    end.

-spec no_zero_byte(binary()) -> {ok, binary()} | error.
no_zero_byte(Text) ->
    case binary:match(Text, <<0>>) of
        nomatch -> {ok, Text};
        _ -> error
    end.

%% @doc In small letters. Not string:lowercase/1: what was given may be no UTF-8.
-spec lower(binary()) -> string().
lower(Text) ->
    string:to_lower(binary_to_list(Text)).

%% @doc The reason of a fault where a value is as that of an unset variable.
-spec no_value() -> binary().
no_value() ->
    <<"has no value: is it read from a variable that is not set?">>.

%% @doc A short picture of a value for a message, without secrets.
-spec show(term()) -> binary().
show(Value) ->
    Text = unicode:characters_to_binary(
        io_lib:format("~0tp", [crema_secret:redact(Value)], [{chars_limit, ?MAX_SHOWN}])
    ),
    %% Elixir's modules as they are written there.
    re:replace(Text, "'Elixir\\.([A-Z][A-Za-z0-9_.]*)'", "\\1", [global, {return, binary}]).

%% @doc The pairs of a map, property list or Elixir keyword list, in order, and
%% a fault for each element that is no pair. Of a repeated key the first counts,
%% as `proplists' and `Keyword' have it. A bare atom stands for `{Atom, true}'.
%%
%% What {@link crema_secret:hide/1} has hidden is read as what it is. `error' when the term is
%% neither a map nor a proper list, or is a string.
-spec pairs(term()) -> {ok, [{term(), term()}], [fault()]} | error.
pairs(Map) when is_map(Map) ->
    {ok, maps:to_list(Map), []};
pairs({crema_secret, Hidden}) when is_function(Hidden, 0) ->
    pairs(Hidden());
pairs(List) when is_list(List) ->
    case is_proper(List) andalso not is_string(List) of
        true ->
            Numbered = lists:zip(lists:seq(1, length(List)), List),
            Pairs = [pair(Element) || {_, Element} <- Numbered, is_pair(Element)],
            %% The element itself is not shown: it may hold a secret.
            Faults = [
                #{option => {element, N}, reason => <<"is no {Name, Value} pair">>}
             || {N, Element} <- Numbered, not is_pair(Element)
            ],
            {ok, lists:uniq(fun({Key, _}) -> Key end, Pairs), Faults};
        false ->
            error
    end;
pairs(_) ->
    error.

%% @doc Whether a term is a proper list.
-spec is_proper(term()) -> boolean().
is_proper(List) ->
    try length(List) of
        _ -> true
    catch
        error:badarg -> false
    end.

%% A fault for each of its characters would help nobody.
-spec is_string(list()) -> boolean().
is_string(List) ->
    List =/= [] andalso lists:all(fun is_integer/1, List).

-spec is_pair(term()) -> boolean().
is_pair({_, _}) -> true;
is_pair(Element) -> is_atom(Element).

-spec pair({term(), term()} | atom()) -> {term(), term()}.
pair({_, _} = Pair) -> Pair;
pair(Atom) -> {Atom, true}.
