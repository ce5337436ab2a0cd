%% @doc Says what is wrong with options, so that a person can put it right.
-module(crema_option_faults).

-export([unknown/3, error/2]).

%% @doc A fault for each key that is no option of the scope, with the option it
%% was probably meant to be. The value of an unknown option is never shown: it
%% may be a secret under a misspelt name.
%%
%% `warnings' passes, so that what {@link crema_options:parse/2} returned may be
%% parsed again.
-spec unknown(crema_options:scope(), [crema_options:row()], Given :: map()) ->
    [crema_input:fault()].
unknown(Scope, Table, Given) ->
    Known = [Name || #{name := Name, scope := Scopes} <- Table, lists:member(Scope, Scopes)],
    [
        #{option => Key, reason => <<"is unknown", (hint(Scope, Key, Known, Table))/binary>>}
     || Key <- lists:sort(maps:keys(maps:without([warnings | Known], Given)))
    ].

-spec hint(crema_options:scope(), term(), [atom()], [crema_options:row()]) -> binary().
hint(Scope, Key, Known, Table) ->
    Text =
        case crema_input:text(Key) of
            {ok, Some} -> Some;
            error -> <<>>
        end,
    Elsewhere = [At || #{name := Name, scope := [At | _]} <- Table, Name =:= Key],
    Dotted = Scope =/= cluster andalso binary:match(Text, <<".">>) =/= nomatch,
    case {Elsewhere, Dotted} of
        {[At | _], _} ->
            <<": it is an option of a ", (atom_to_binary(At))/binary>>;
        {[], true} ->
            <<": a librdkafka property goes under the option kafka">>;
        {[], false} ->
            suggestion(crema_suggest:nearest(Text, [atom_to_binary(Name) || Name <- Known]))
    end.

-spec suggestion({ok, binary()} | none) -> binary().
suggestion({ok, Name}) -> <<", did you mean the atom ", Name/binary, "?">>;
suggestion(none) -> <<>>.

%% @doc The error `bad_options' of a scope, its message naming every fault.
-spec error(crema_options:scope(), [crema_input:fault(), ...]) ->
    {error, {bad_options, crema_error:details()}}.
error(Scope, Faults) ->
    Count =
        case Faults of
            [_] -> <<"a wrong option">>;
            _ -> <<(integer_to_binary(length(Faults)))/binary, " wrong options">>
        end,
    Sentences = [
        [label(Option), " ", Reason]
     || #{option := Option, reason := Reason} <- Faults
    ],
    Message = [Count, " of a ", atom_to_binary(Scope), ": ", lists:join("; ", Sentences)],
    crema_error:make(bad_options, Message, #{faults => Faults}).

-spec label(term()) -> binary().
label({kafka, {element, N}}) -> <<"element ", (integer_to_binary(N))/binary, " of kafka">>;
label({topic_config, {element, N}}) ->
    <<"element ", (integer_to_binary(N))/binary, " of topic_config">>;
label({topic_config, Key}) -> <<"topic_config property ", (key(Key))/binary>>;
label({kafka, Key}) -> <<"kafka property ", (key(Key))/binary>>;
label({element, N}) when is_integer(N) -> <<"element ", (integer_to_binary(N))/binary>>;
label(Option) -> crema_input:show(Option).

%% The name of a property as it is written, unless that cannot be printed.
-spec key(term()) -> binary().
key(Key) when is_binary(Key) ->
    case io_lib:printable_unicode_list(unicode:characters_to_list(Key)) of
        true -> Key;
        false -> crema_input:show(Key)
    end;
key(Key) ->
    crema_input:show(Key).
