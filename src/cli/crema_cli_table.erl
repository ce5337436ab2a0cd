%% @private The one table of the command line: its commands and their options. What
%% is typed is read by it, and help and documents are made of it.
-module(crema_cli_table).

-export([commands/0, command/1, options/1, help/0, help/1, doc/0, doc/1, usage/1]).

-export_type([command/0, option/0, type/0]).

-type command() :: #{
    name := atom(),
    %% what stands behind it: the field, its name in help, how many
    operand := none | {atom(), string(), one | optional | any | some},
    summary := binary(),
    text := [binary()],
    examples := [binary()]
}.
-type option() :: #{
    name := atom(),
    short := char() | none,
    long := string(),
    %% none: it is a flag
    argument := string() | none,
    type := type(),
    many := boolean(),
    doc := binary()
}.
-type type() ::
    flag
    | text
    | bytes
    | seconds
    | {integer, integer(), integer()}
    | property
    | header
    | env
    | from
    | to.

-define(MOST, 2147483647).

%% @doc Every command, in the order in which it is documented.
-spec commands() -> [command(), ...].
commands() ->
    [
        #{
            name => produce,
            operand => {topic, "TOPIC", optional},
            summary => <<"send what comes by standard input, a message for each line">>,
            text => [
                <<"Every message gets an answer. The exit status is 0 if brokers have all of them, and "
                    "1 if not, with the number of those that they do not have.">>,
                <<"With --json a line is an object of `value`, and, if wanted, `key`, `headers`, "
                    "`partition`, `timestamp` and `topic`; `value_base64` and `key_base64` hold bytes "
                    "that are no text. A TOPIC and options given go before the line's.">>
            ],
            examples => [
                <<"echo 'an espresso' | crema produce orders -k ada">>,
                <<"crema produce orders -K : < orders.txt">>,
                <<"crema consume orders -e --json | crema produce copies --json">>
            ]
        },
        #{
            name => consume,
            operand => {topic, "TOPIC", one},
            summary => <<"print a topic's messages, without a group">>,
            text => [
                <<"Reads from the beginning and goes on with what comes. Nothing is committed, and no "
                    "group is disturbed. Order is that of each partition.">>
            ],
            examples => [
                <<"crema consume orders --from end">>,
                <<"crema consume orders -e -P -H -K ' = '">>,
                <<"crema consume orders --from 2026-11-22T08:00:00Z -e --json | jq .value">>,
                <<"crema consume orders -p 0 --from 1234 -n 1 -d '' > value">>
            ]
        },
        #{
            name => topics,
            operand => {topics, "TOPIC", any},
            summary => <<"list topics, or describe some">>,
            text => [<<"Of a topic that is named each partition is described.">>],
            examples => [<<"crema topics">>, <<"crema topics orders">>]
        },
        #{
            name => groups,
            operand => {groups, "GROUP", any},
            summary => <<"list consumer groups, or describe some">>,
            text => [<<"Of a group that is named the members are listed, with their partitions.">>],
            examples => [<<"crema groups">>, <<"crema groups baristas">>]
        },
        #{
            name => lag,
            operand => {groups, "GROUP", some},
            summary => <<"how far groups are behind">>,
            text => [
                <<"A table that is renewed where standard output is a terminal, else one reading. The "
                    "groups are asked about and not joined. CHANGE is of the lag since the reading "
                    "before.">>
            ],
            examples => [<<"crema lag baristas">>, <<"crema lag baristas --json | jq .lag">>]
        },
        #{
            name => check,
            operand => none,
            summary => <<"say step by step what is wrong with a connection">>,
            text => [],
            examples => [<<"crema check -t orders -g baristas">>]
        },
        #{
            name => bench,
            operand => {topic, "TOPIC", one},
            summary => <<"measure producing to a topic and consuming it, quickly">>,
            text => [
                <<"Writes to the topic: name one that is there for it. What is measured is one process "
                    "on this machine with these options, the network and the brokers as they are now: "
                    "a hint, and no comparison.">>
            ],
            examples => [<<"crema bench trial -n 1000000 -s 100">>]
        }
    ].

%% @doc The command of that name.
-spec command(string()) -> {ok, command()} | error.
command(Name) ->
    case [Command || #{name := Known} = Command <- commands(), atom_to_list(Known) =:= Name] of
        [Command] -> {ok, Command};
        [] -> error
    end.

%% @doc The options of a command, in the order in which they are documented.
-spec options(atom()) -> [option()].
options(Command) ->
    own(Command) ++ connection(Command) ++ [flag(help, $h, "help", <<"this text">>)].

-spec connection(atom()) -> [option()].
connection(_) ->
    [
        option(bootstrap, $b, "bootstrap", "SERVERS", text,
            <<"brokers to ask first: host:port, joined with commas">>),
        option(env, none, "env", "NAME", env,
            <<"where variables are read: `heroku`, what their names begin with, or `none`; "
                "default: `heroku` if `KAFKA_URL` is set, else `KAFKA`">>),
        many(option(config, $X, "config", "PROPERTY=VALUE", property,
            <<"a property of librdkafka; `@FILE` is what the file holds, `$NAME` the variable's "
                "value">>))
    ].

-spec own(atom()) -> [option()].
own(produce) ->
    [
        option(key, $k, "key", "KEY", bytes, <<"the key of all messages">>),
        option(separator, $K, "key-separator", "TEXT", bytes,
            <<"what stands between key and value in each line">>),
        option(partition, $p, "partition", "N", {integer, 0, ?MOST}, <<"the partition of all">>),
        many(option(headers, $H, "header", "NAME=VALUE", header, <<"a header of all messages">>)),
        flag(json, $j, "json", <<"lines are objects of JSON">>),
        delimiter(<<"what ends a message (`\\n`)">>),
        option(null, $Z, "null", "TEXT", bytes, <<"a key or value that is this is null">>),
        option(timeout, $T, "timeout", "SECONDS", seconds,
            <<"how long a message may wait for its delivery (30)">>)
    ];
own(consume) ->
    [
        option(from, $f, "from", "PLACE", from,
            <<"`beginning`, `end`, an offset, `-N` (the last N of each partition), or a time: "
                "`2026-11-22T08:00:00Z`, or `@` and milliseconds (`beginning`)">>),
        option(to, $t, "to", "PLACE", to,
            <<"where to stop: `end` (as it is now), an offset, or a time; not read itself">>),
        flag(until_end, $e, "until-end", <<"the same as --to end">>),
        option(count, $n, "count", "N", {integer, 1, ?MOST}, <<"stop after so many messages">>),
        many(option(partitions, $p, "partition", "N", {integer, 0, ?MOST},
            <<"a partition to read, instead of all">>)),
        flag(json, $j, "json", <<"print objects of JSON, a line each">>),
        option(separator, $K, "key-separator", "TEXT", bytes,
            <<"print the key, and this, before the value">>),
        flag(headers, $H, "headers", <<"print the headers before the value">>),
        flag(places, $P, "places", <<"print time, topic, partition:offset before the value">>),
        delimiter(<<"what is printed behind a message (`\\n`)">>),
        option(null, $Z, "null", "TEXT", bytes, <<"what is printed for null (nothing)">>),
        timeout(<<"how long to wait for brokers at the start (30)">>)
    ];
own(topics) ->
    [
        flag(all, $a, "all", <<"list internal topics too">>),
        json(),
        timeout(<<"how long brokers may take (10)">>)
    ];
own(groups) ->
    [json(), timeout(<<"how long brokers may take (10)">>)];
own(lag) ->
    [
        many(option(topics, $t, "topic", "TOPIC", text, <<"only of this topic">>)),
        option(interval, $i, "interval", "SECONDS", seconds,
            <<"from one reading to the next (2 on a terminal; else there is one reading)">>),
        flag(once, $1, "once", <<"one reading, also on a terminal">>),
        json(),
        timeout(<<"how long brokers may take (10)">>)
    ];
own(check) ->
    [
        many(option(topics, $t, "topic", "TOPIC", text, <<"a topic that is to be there">>)),
        option(group, $g, "group", "GROUP", text,
            <<"as a member of this group: may it read, and join?">>),
        flag(write, $w, "write", <<"send a message to each topic, to see whether it may">>),
        timeout(<<"how long it may take (5)">>)
    ];
own(bench) ->
    [
        option(count, $n, "count", "N", {integer, 1, 100000000}, <<"messages (100000)">>),
        option(size, $s, "size", "BYTES", {integer, 1, 1000000}, <<"of each value (100)">>),
        timeout(<<"how long a message may wait for its delivery, and brokers take (30)">>)
    ].

-spec delimiter(binary()) -> option().
delimiter(Doc) ->
    option(delimiter, $d, "delimiter", "TEXT", bytes, Doc).

-spec timeout(binary()) -> option().
timeout(Doc) ->
    option(timeout, $T, "timeout", "SECONDS", seconds, Doc).

-spec json() -> option().
json() ->
    flag(json, $j, "json", <<"print objects of JSON, a line each">>).

-spec option(atom(), char() | none, string(), string(), type(), binary()) -> option().
option(Name, Short, Long, Argument, Type, Doc) ->
    #{
        name => Name,
        short => Short,
        long => Long,
        argument => Argument,
        type => Type,
        many => false,
        doc => Doc
    }.

-spec flag(atom(), char(), string(), binary()) -> option().
flag(Name, Short, Long, Doc) ->
    (option(Name, Short, Long, "", flag, Doc))#{argument := none}.

-spec many(option()) -> option().
many(#{doc := Doc} = Option) ->
    Option#{many := true, doc := <<Doc/binary, "; may be given several times">>}.

%% ---- help --------------------------------------------------------------------

%% @doc What `crema help' prints.
-spec help() -> iolist().
help() ->
    [
        "usage: crema COMMAND [OPTIONS]\n\n",
        [
            [pad(["  ", atom_to_list(Name)], 11), Summary, $\n]
         || #{name := Name, summary := Summary} <- commands()
        ],
        "\n",
        wrap("`crema help COMMAND` tells its options, `crema --version` the versions. Brokers are "
            "given by -b, or by the variables that the library reads: KAFKA_BOOTSTRAP_SERVERS, "
            "KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_..., KAFKA_SSL_..., KAFKA_CONF_..., or Heroku's."),
        "\n",
        wrap("The exit status is 0 if all was done, 1 if not, and 2 if the command line is wrong.")
    ].

%% @doc What `crema help COMMAND' prints.
-spec help(command()) -> iolist().
help(#{name := Name, summary := Summary, text := Text, examples := Examples} = Command) ->
    [
        usage(Command),
        [$\n, wrap([upper(Summary), $.]), $\n],
        [[wrap(Paragraph), $\n] || Paragraph <- Text],
        "options:\n",
        [
            [pad(["  ", spelling(Option)], 31), indented(Doc, 31)]
         || #{doc := Doc} = Option <- options(Name)
        ],
        "\nexamples:\n",
        [["  ", Example, $\n] || Example <- Examples]
    ].

%% @doc The first line of a command's help.
-spec usage(command()) -> iolist().
usage(#{name := Name, operand := Operand}) ->
    ["usage: crema ", atom_to_list(Name), operand(Operand), " [OPTIONS]\n"].

-spec operand(none | {atom(), string(), one | optional | any | some}) -> iolist().
operand(none) -> [];
operand({_, Name, one}) -> [$\s, Name];
operand({_, Name, optional}) -> [" [", Name, "]"];
operand({_, Name, any}) -> [" [", Name, "...]"];
operand({_, Name, some}) -> [$\s, Name, "..."].

-spec spelling(option()) -> iolist().
spelling(#{short := Short, long := Long, argument := Argument}) ->
    [
        case Short of
            none -> "    ";
            _ -> [$-, Short, ", "]
        end,
        "--",
        Long,
        [[$\s, Argument] || Argument =/= none]
    ].

-spec upper(binary()) -> binary().
upper(<<First, Rest/binary>>) -> <<(string:to_upper(First)), Rest/binary>>.

-spec pad(iodata(), pos_integer()) -> iodata().
pad(Text, Width) ->
    [Text, lists:duplicate(max(2, Width - iolist_size(Text)), $\s)].

-spec wrap(iodata()) -> iolist().
wrap(Text) ->
    [[Line, $\n] || Line <- lines(Text, 78)].

-spec indented(binary(), pos_integer()) -> iolist().
indented(Doc, Column) ->
    [First | Rest] = lines(Doc, 79 - Column),
    [First, $\n, [[lists:duplicate(Column, $\s), Line, $\n] || Line <- Rest]].

%% Without the marks that documents have.
-spec lines(iodata(), pos_integer()) -> [unicode:chardata(), ...].
lines(Text, Width) ->
    crema_cli_text:wrapped(binary:replace(iolist_to_binary(Text), <<"`">>, <<>>, [global]), Width).

%% ---- documents ---------------------------------------------------------------

%% @doc A markdown table of the commands.
-spec doc() -> binary().
doc() ->
    iolist_to_binary([
        "| Command | What it does |\n|---|---|\n",
        [
            ["| `crema ", atom_to_list(Name), operand(Operand), "` | ", Summary, " |\n"]
         || #{name := Name, operand := Operand, summary := Summary} <- commands()
        ]
    ]).

%% @doc A markdown table of a command's own options; of `all' those that each has.
-spec doc(atom()) -> binary().
doc(all) -> rows(connection(all));
doc(Command) -> rows(own(Command)).

-spec rows([option()]) -> binary().
rows(Options) ->
    iolist_to_binary([
        "| Option | Meaning |\n|---|---|\n",
        [["| ", cell(Option), " | ", Doc, " |\n"] || #{doc := Doc} = Option <- Options]
    ]).

-spec cell(option()) -> iolist().
cell(Option) ->
    ["`", string:trim(spelling(Option), leading), "`"].
