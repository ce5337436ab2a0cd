%% @private The diagnosis from a shell: scripts/check-connection and `mix crema.check'.
-module(crema_check_command).

-export([main/0, run/2]).

-type given() :: #{atom() => term()}.

%% @doc What a shell's arguments ask for; the first says whether there are colours.
-spec main() -> no_return().
main() ->
    [Style | Arguments] = init:get_plain_arguments(),
    {Status, Text} = run(Arguments, style(Style)),
    ok = io:setopts([{encoding, unicode}]),
    ok = io:put_chars(Text),
    halt(Status).

-spec style(string()) -> plain | colours.
style("colours") -> colours;
style(_) -> plain.

%% @doc The exit status, and what is to be printed.
-spec run([string() | binary()], plain | colours) -> {0..2, unicode:chardata()}.
run(Arguments, Style) ->
    try options([unicode:characters_to_list(Argument) || Argument <- Arguments], #{}) of
        Options ->
            {ok, _} = application:ensure_all_started(crema),
            Result = crema_check:check(Options),
            {status(Result), crema_check:format(Result, Style)}
    catch
        throw:{usage, Text} -> {2, [Text, $\n]}
    end.

-spec status(crema_check:result()) -> 0 | 1.
status({ok, _}) -> 0;
status({error, _}) -> 1.

-spec options([string()], given()) -> given().
options([], Given) ->
    Given;
options([Flag, Value | Rest], Given) when Flag =:= "-b"; Flag =:= "--bootstrap" ->
    options(Rest, Given#{bootstrap_servers => unicode:characters_to_binary(Value)});
options([Flag, Value | Rest], Given) when Flag =:= "-t"; Flag =:= "--topic" ->
    Topics = maps:get(topics, Given, []),
    options(Rest, Given#{topics => Topics ++ [unicode:characters_to_binary(Value)]});
options([Flag, Value | Rest], Given) when Flag =:= "-g"; Flag =:= "--group" ->
    options(Rest, Given#{group => unicode:characters_to_binary(Value)});
options([Flag | Rest], Given) when Flag =:= "-w"; Flag =:= "--write" ->
    options(Rest, Given#{write => true});
options(["--env", "heroku" | Rest], Given) ->
    options(Rest, Given#{env => heroku});
options(["--env", Prefix | Rest], Given) ->
    options(Rest, Given#{env => {prefix, Prefix}});
options(["--deadline", Value | Rest], Given) ->
    options(Rest, Given#{deadline => number(Value)});
options(["-X", Property | Rest], Given) ->
    {Key, Value} = crema_cli_arguments:property(Property),
    Kafka = pairs(maps:get(kafka, Given, [])),
    options(Rest, Given#{kafka => lists:keystore(Key, 1, Kafka, {Key, Value})});
options(["--module", Name | Rest], Given) ->
    options(Rest, maps:merge(Given, of_module(atom(Name))));
options(["--config", Place | Rest], Given) ->
    case string:split(Place, ":") of
        [App, Key] -> options(Rest, maps:merge(Given, of_environment(atom(App), atom(Key))));
        [_] -> usage(["--config takes APPLICATION:KEY, not ", Place])
    end;
options([Flag | _], _Given) ->
    usage([Flag, " is not known, or its value is missing"]).

-spec usage(iodata()) -> no_return().
usage(Text) -> throw({usage, Text}).

-spec number(string()) -> integer().
number(Value) ->
    case string:to_integer(Value) of
        {Number, ""} when is_integer(Number) -> Number;
        _ -> usage(["a number of milliseconds is wanted, not ", Value])
    end.

%% Only what is known: no atoms are made of what is typed.
-spec atom(string()) -> atom().
atom(Name) ->
    case lists:filtermap(fun known/1, [Name, "Elixir." ++ Name]) of
        [Atom | _] -> Atom;
        [] -> usage(["nothing is named ", Name])
    end.

-spec known(string()) -> false | {true, atom()}.
known(Name) ->
    try list_to_existing_atom(Name) of
        Atom -> {true, Atom}
    catch
        error:badarg -> loaded(Name)
    end.

%% A module's name is no atom before it is loaded.
-spec loaded(string()) -> false | {true, atom()}.
loaded(Name) ->
    case code:where_is_file(Name ++ ".beam") of
        non_existing ->
            false;
        File ->
            {ok, {Module, _}} = beam_lib:chunks(File, [atoms]),
            {true, Module}
    end.

%% What a module's child would be started with.
-spec of_module(module()) -> given().
of_module(Module) ->
    try Module:child_spec([]) of
        #{start := {_, _, Arguments}} -> map([Module, $:], lists:last(Arguments));
        _ -> usage([atom_to_binary(Module), ":child_spec/1 returns no map"])
    catch
        error:undef -> usage([atom_to_binary(Module), " has no child_spec/1"])
    end.

-spec of_environment(atom(), atom()) -> given().
of_environment(App, Key) ->
    _ = application:load(App),
    case application:get_env(App, Key) of
        {ok, Options} -> map(atom_to_binary(Key), Options);
        undefined -> usage([atom_to_binary(App), " has no configuration ", atom_to_binary(Key)])
    end.

-spec map(iodata() | [term()], term()) -> given().
map(Name, Options) ->
    case crema_input:pairs(Options) of
        {ok, Pairs, []} -> listed(maps:from_list(Pairs));
        _ -> usage(io_lib:format("~p holds no options", [Name]))
    end.

%% More topics may follow.
-spec listed(given()) -> given().
listed(#{topics := Topics} = Given) ->
    case crema_option_type:check(topics, Topics) of
        {ok, List} -> Given#{topics := List};
        {error, _} -> maps:remove(topics, Given)
    end;
listed(Given) ->
    Given.

-spec pairs(term()) -> [{term(), term()}].
pairs(Kafka) ->
    case crema_input:pairs(Kafka) of
        {ok, Pairs, _} -> Pairs;
        error -> []
    end.
