%% @private What is typed behind a command, read by the table of its options.
-module(crema_cli_arguments).

-export([parse/2, property/1]).

-export_type([given/0]).

%% By the names of the table. Options that may be given several times have lists.
-type given() :: #{atom() => term()}.

%% @doc Throws `{usage, Text}' where it is wrong.
-spec parse(crema_cli_table:command(), [string()]) -> given().
parse(#{name := Name, operand := Operand}, Arguments) ->
    _ = [bin(Argument) || Argument <- Arguments],
    Options = crema_cli_table:options(Name),
    {Given, Operands} = read(Arguments, Options, #{}, []),
    case Given of
        #{help := true} -> Given;
        #{} -> with_operands(Operand, lists:reverse(Operands), Given)
    end.

-spec read([string()], [crema_cli_table:option()], given(), [string()]) -> {given(), [string()]}.
read([], _Options, Given, Operands) ->
    {Given, Operands};
read(["--" | Rest], _Options, Given, Operands) ->
    {Given, lists:reverse(Rest) ++ Operands};
read(["--" ++ Long | Rest], Options, Given, Operands) ->
    {Name, Joined} =
        case string:split(Long, "=") of
            [Head, Tail] -> {Head, [Tail]};
            [Head] -> {Head, []}
        end,
    Found = [Option || #{long := Known} = Option <- Options, Known =:= Name],
    taken(Found, "--" ++ Name, Joined, Rest, Options, Given, Operands);
read([[$-, Short | Joined] | Rest], Options, Given, Operands) ->
    Found = [Option || #{short := Known} = Option <- Options, Known =:= Short],
    shorts(Found, [$-, Short], Joined, Rest, Options, Given, Operands);
read([Operand | Rest], Options, Given, Operands) ->
    read(Rest, Options, Given, [Operand | Operands]).

%% Flags may stand together, and a value behind its letter.
-spec shorts(
    [crema_cli_table:option()], string(), string(), [string()], [crema_cli_table:option()], given(),
    [string()]
) -> {given(), [string()]}.
shorts([#{type := flag}] = Found, Shown, [_ | _] = More, Rest, Options, Given, Operands) ->
    taken(Found, Shown, [], [[$- | More] | Rest], Options, Given, Operands);
shorts(Found, Shown, Joined, Rest, Options, Given, Operands) ->
    taken(Found, Shown, [Joined || Joined =/= ""], Rest, Options, Given, Operands).

-spec taken(
    [crema_cli_table:option()], string(), [string()], [string()], [crema_cli_table:option()],
    given(), [string()]
) -> {given(), [string()]}.
taken([], Shown, _Joined, _Rest, _Options, _Given, _Operands) ->
    usage([Shown, " is no option of this command"]);
taken([#{type := flag, name := Name}], _Shown, [], Rest, Options, Given, Operands) ->
    read(Rest, Options, Given#{Name => true}, Operands);
taken([#{type := flag}], Shown, [_], _Rest, _Options, _Given, _Operands) ->
    usage([Shown, " takes no value"]);
taken([Option], Shown, [Value], Rest, Options, Given, Operands) ->
    read(Rest, Options, put(Option, Shown, Value, Given), Operands);
taken([Option], Shown, [], [Value | Rest], Options, Given, Operands) ->
    read(Rest, Options, put(Option, Shown, Value, Given), Operands);
taken([#{argument := Argument}], Shown, [], [], _Options, _Given, _Operands) ->
    usage([Shown, " wants a value: ", Argument]).

-spec put(crema_cli_table:option(), string(), string(), given()) -> given().
put(#{name := Name, type := Type, many := Many}, Shown, Text, Given) ->
    Value =
        case value(Type, Text) of
            {error, Wanted} -> usage([Shown, " wants ", Wanted, ", not ", Text]);
            Read -> Read
        end,
    case Given of
        #{Name := Before} when Many -> Given#{Name := Before ++ [Value]};
        #{Name := _} -> usage([Shown, " is given twice"]);
        #{} when Many -> Given#{Name => [Value]};
        #{} -> Given#{Name => Value}
    end.

-spec with_operands(none | {atom(), string(), one | optional | any | some}, [string()], given()) ->
    given().
with_operands({Field, Name, Many}, Operands, Given) when
    Many =:= any; Many =:= some, Operands =/= []
->
    Given#{Field => [operand(Name, Operand) || Operand <- Operands]};
with_operands({Field, Name, _}, [Operand], Given) ->
    Given#{Field => operand(Name, Operand)};
with_operands({_, _, optional}, [], Given) ->
    Given;
with_operands(none, [], Given) ->
    Given;
with_operands({_, Name, _}, [], _Given) ->
    usage(["which ", Name, " is not said"]);
with_operands({_, Name, _}, [_ | More], _Given) ->
    usage(["one ", Name, " is taken, and not ", lists:join($\s, More), " as well"]);
with_operands(none, [Operand | _], _Given) ->
    usage([Operand, " is not understood"]).

-spec operand(string(), string()) -> binary().
operand(Name, "") -> usage([Name, " is empty"]);
operand(_Name, Operand) -> bin(Operand).

%% ---- values --------------------------------------------------------------------

-spec value(crema_cli_table:type(), string()) -> term() | {error, string()}.
value(text, "") ->
    {error, "a text that is not empty"};
value(text, Text) ->
    bin(Text);
value(bytes, Text) ->
    case bytes(Text) of
        error -> {error, "a text in which \\n, \\r, \\t, \\0, \\\\ and \\xHH are bytes"};
        Bytes -> iolist_to_binary(Bytes)
    end;
value({integer, Least, Most}, Text) ->
    case string:to_integer(Text) of
        {Number, ""} when is_integer(Number), Number >= Least, Number =< Most -> Number;
        _ -> {error, "a number" ++ at_least(Least)}
    end;
value(seconds, Text) ->
    case milliseconds(Text) of
        Time when is_integer(Time), Time >= 100, Time =< 2147483647 -> Time;
        _ -> {error, "seconds, 0.1 or more"}
    end;
value(header, Text) ->
    case string:split(Text, "=") of
        [Name, Value] -> {bin(Name), bin(Value)};
        [_] -> {error, "NAME=VALUE"}
    end;
value(property, Text) ->
    property(Text);
value(env, "none") ->
    none;
value(env, "heroku") ->
    heroku;
value(env, Prefix) ->
    case crema_env:check({prefix, Prefix}) of
        {ok, Env} -> Env;
        error -> {error, "heroku, none, or letters, digits and underscores"}
    end;
value(From, "beginning") when From =:= from ->
    earliest;
value(from, "end") ->
    latest;
value(to, "end") ->
    'end';
value(from, [$- | Count]) ->
    case string:to_integer(Count) of
        {Number, ""} when is_integer(Number), Number >= 0 -> {last, Number};
        _ -> {error, "a number behind -"}
    end;
value(Place, [$@ | Millis]) when Place =:= from; Place =:= to ->
    case string:to_integer(Millis) of
        {Number, ""} when is_integer(Number), Number >= 0 -> {timestamp, Number};
        _ -> {error, "milliseconds since 1970 behind @"}
    end;
value(_, Text) ->
    case string:to_integer(Text) of
        {Offset, ""} when is_integer(Offset), Offset >= 0 -> Offset;
        _ -> time(Text)
    end.

-spec time(string()) -> {timestamp, non_neg_integer()} | {error, string()}.
time(Text) ->
    try calendar:rfc3339_to_system_time(Text, [{unit, millisecond}]) of
        Time when Time >= 0 -> {timestamp, Time};
        _ -> {error, "a time after 1970"}
    catch
        error:_ -> {error, "a place: beginning, end, an offset, or a time like 2026-11-22T08:00:00Z"}
    end.

-spec at_least(integer()) -> string().
at_least(0) -> "";
at_least(Least) -> " of at least " ++ integer_to_list(Least).

-spec milliseconds(string()) -> integer() | error.
milliseconds(Text) ->
    case {string:to_integer(Text), string:to_float(Text)} of
        {{Number, ""}, _} when is_integer(Number) -> Number * 1000;
        {_, {Number, ""}} when is_float(Number) -> round(Number * 1000);
        _ -> error
    end.

-spec bytes(string()) -> iolist() | error.
bytes(Text) ->
    try
        escaped(Text)
    catch
        throw:no_escape -> error
    end.

-spec escaped(string()) -> iolist().
escaped("") -> [];
escaped("\\n" ++ Rest) -> [$\n | escaped(Rest)];
escaped("\\r" ++ Rest) -> [$\r | escaped(Rest)];
escaped("\\t" ++ Rest) -> [$\t | escaped(Rest)];
escaped("\\0" ++ Rest) -> [0 | escaped(Rest)];
escaped("\\\\" ++ Rest) -> [$\\ | escaped(Rest)];
escaped([$\\, $x, A, B | Rest]) ->
    try
        [list_to_integer([A, B], 16) | escaped(Rest)]
    catch
        error:badarg -> throw(no_escape)
    end;
escaped([$\\ | _]) -> throw(no_escape);
escaped([Char | Rest]) -> [<<Char/utf8>> | escaped(Rest)].

%% @doc PROPERTY=VALUE. A secret is better not on a command line, which everybody may
%% see: a value like @FILE is what the file holds, and $NAME what the variable does. As a
%% secret may begin so too, what is wrong is told by the property.
-spec property(string()) -> {binary(), binary()}.
property(Text) ->
    case string:split(Text, "=") of
        [[_ | _] = Name, Value] -> {bin(Name), revealed(Name, Value)};
        _ -> usage("a property is given as PROPERTY=VALUE")
    end.

-spec revealed(string(), string()) -> binary().
revealed(Property, "@" ++ File) ->
    case file:read_file(File) of
        {ok, Text} -> string:trim(Text, trailing, ["\r\n", $\r, $\n]);
        {error, Reason} -> usage([Property, ": the file behind @: ", file:format_error(Reason)])
    end;
revealed(Property, "$" ++ Name) ->
    case os:getenv(Name) of
        false -> usage([Property, ": the variable behind $ is not set"]);
        Text -> bin(Text)
    end;
revealed(_Property, Text) ->
    bin(Text).

%% What is no UTF-8 came as what is no character.
-spec bin(string()) -> binary().
bin(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> usage("the command line holds what is no text")
    catch
        error:badarg -> usage("the command line holds what is no text")
    end.

-spec usage(iodata()) -> no_return().
usage(Text) -> throw({usage, Text}).
