%% @private Says what is wrong with options, so that a person can put it right.
-module(crema_option_faults).

-export([unknown/3, error/2]).

%% @doc A fault for each key that is no option of the scope, with the option it
%% was probably meant to be. The value of an unknown option is never shown: it
%% may be a secret under a misspelt name.
%%
%% `warnings' and `sources' pass, so that what {@link crema_options:parse/2} returned may be
%% parsed again.
-spec unknown(crema_options:scope(), [crema_options:row()], Given :: map()) ->
    [crema_input:fault()].
unknown(Scope, Table, Given) ->
    Known = [Name || #{name := Name, scope := Scopes} <- Table, lists:member(Scope, Scopes)],
    [
        #{option => Key, reason => <<"is unknown", (hint(Scope, Key, Known, Table))/binary>>}
     || Key <- lists:sort(maps:keys(maps:without([warnings, sources | Known], Given)))
    ].

-spec hint(crema_options:scope(), term(), [atom()], [crema_options:row()]) -> binary().
hint(Scope, Key, Known, Table) ->
    Text =
        case crema_input:text(Key) of
            {ok, Some} -> Some;
            error -> <<>>
        end,
    Elsewhere = [At || #{name := Name, scope := [At | _]} <- Table, Name =:= Key],
    Names = [atom_to_binary(Name) || Name <- Known],
    Parts = maps:without(Names, parts(Scope)),
    case {Parts, Elsewhere, lists:member(kafka, Known) andalso has_dot(Text)} of
        {#{Text := Option}, _, _} ->
            <<": it belongs into the option ", (inside(Option, Text))/binary>>;
        {_, [At | _], _} ->
            <<": it is an option of a ", (atom_to_binary(At))/binary>>;
        {_, [], true} ->
            <<": a librdkafka property goes under the option kafka">>;
        {_, [], _} ->
            suggestion(crema_suggest:nearest(Text, Names ++ maps:keys(Parts)), Parts, Key)
    end.

%% What stands within an option, and in no other place.
-spec parts(crema_options:scope()) -> #{Part :: binary() => Option :: atom()}.
parts(consumer) ->
    maps:from_keys([atom_to_binary(Part) || Part <- crema_failure_options:parts()], failures);
parts(variant) ->
    maps:from_keys(crema_topic_config:names(), topic_config);
parts(_) ->
    #{}.

-spec inside(Option :: atom(), Part :: binary()) -> binary().
inside(Option, Part) ->
    Key =
        case has_dot(Part) of
            true -> [$', Part, $'];
            false -> Part
        end,
    iolist_to_binary([atom_to_binary(Option), " => #{", Key, " => ...}"]).

-spec has_dot(binary()) -> boolean().
has_dot(Text) ->
    binary:match(Text, <<".">>) =/= nomatch.

-spec suggestion({ok, binary()} | none, #{binary() => atom()}, Key :: term()) -> binary().
suggestion({ok, Name}, Parts, _Key) when is_map_key(Name, Parts) ->
    <<", did you mean ", (inside(maps:get(Name, Parts), Name))/binary, "?">>;
suggestion({ok, Name}, _Parts, Key) when is_atom(Key) ->
    <<", did you mean ", Name/binary, "?">>;
suggestion({ok, Name}, _Parts, _Key) ->
    <<", did you mean the atom ", Name/binary, "?">>;
suggestion(none, _Parts, _Key) ->
    <<>>.

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
label({env, Name}) when is_binary(Name) ->
    <<"the variable ", Name/binary>>;
label({application, Layer}) ->
    <<(atom_to_binary(Layer))/binary, " in crema's application environment">>;
label({application, Layer, Option}) ->
    <<(label(Option))/binary, " (", (label({application, Layer}))/binary, ")">>;
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
