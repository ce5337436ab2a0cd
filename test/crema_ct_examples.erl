%% Runs the Erlang examples of a document as they stand there, but for the brokers'
%% address, in a node of their own.
%%
%% A page that starts no cluster goes on from the README: it has its variables and
%% what it has started.
-module(crema_ct_examples).

-include_lib("stdlib/include/assert.hrl").

-import(crema_ct_documents, [contains/2, fences/2]).

-export([run/1]).
%% In the other node.
-export([page/1]).

-define(MS, 110000).

-spec run(file:filename()) -> ok.
run(Document) ->
    {ok, Peer, _} = peer:start_link(#{
        connection => standard_io, args => ["-pa" | code:get_path()], wait_boot => 60000
    }),
    try
        peer:call(Peer, ?MODULE, page, [Document], ?MS)
    after
        peer:stop(Peer)
    end.

-spec page(file:filename()) -> ok.
page("README.md") ->
    Self = self(),
    group_leader(spawn_link(fun() -> printer(Self) end), self()),
    _ = story(),
    Lines = ["ada wants an espresso\n", "bob wants a macchiato\n", "joe wants a ristretto\n"],
    ?assertEqual(Lines, lists:sort([printed() || _ <- Lines]));
page(Document) ->
    {ok, _} = application:ensure_all_started(crema),
    Blocks = fences(Document, "erlang"),
    Bindings =
        case contains(Blocks, <<"crema_cluster:start_link">>) of
            true -> [];
            false -> story()
        end,
    ok = before(Document, Bindings),
    {Brokers, Examples} = at(Bindings, Blocks),
    _ = lists:foldl(fun example/2, Bindings, Examples),
    ok = outcome(Document, Brokers).

%% The README's, of which the other pages have two variables.
story() ->
    Bindings = lists:foldl(fun example/2, [], fences("README.md", "erlang")),
    [{Name, Value} || {Name, Value} <- Bindings, lists:member(Name, ['Brokers', 'Cluster'])].

at(Bindings, Blocks) ->
    case erl_eval:binding('Brokers', Bindings) of
        {value, Brokers} ->
            {Brokers, [
                binary:replace(B, <<"localhost:9092">>, Brokers, [global]) || B <- Blocks
            ]};
        unbound ->
            {none, Blocks}
    end.

%% What a page takes for granted.
before("docs/heroku.md", Bindings) ->
    {value, Brokers} = erl_eval:binding('Brokers', Bindings),
    true = os:putenv("KAFKA_URL", "kafka://" ++ binary_to_list(Brokers)),
    true = os:putenv("KAFKA_PREFIX", "amber-1."),
    ok;
before("docs/transactions.md", Bindings) ->
    created(<<"totals">>, Bindings);
before("docs/exactly_once.md", Bindings) ->
    {ok, _} = crema:produce(orders, #{topic => "whispers", value => "hush"}),
    created(<<"shouts">>, Bindings);
before(_, _) ->
    ok.

%% Newer embedded clusters have no topic of which is only read.
created(Topic, Bindings) ->
    {value, Cluster} = erl_eval:binding('Cluster', Bindings),
    crema_cluster:create_topic(Cluster, Topic, 1).

%% What comes of the handlers of a page.
outcome("docs/transactions.md", Brokers) -> read(Brokers, <<"totals">>, <<"one espresso">>);
outcome("docs/exactly_once.md", Brokers) -> read(Brokers, <<"shouts">>, <<"HUSH">>);
outcome(_, _) -> ok.

read(Brokers, Topic, Value) ->
    {ok, Reader} = crema_reader:open(#{
        bootstrap_servers => Brokers, topic => Topic, to => infinity
    }),
    crema_reader:close(until(Reader, Value)).

until(Reader, Value) ->
    {ok, [_ | _] = Messages, Next} = crema_reader:next(Reader, 60000),
    case [found || #{value := Found} <- Messages, Found =:= Value] of
        [] -> until(Next, Value);
        [found] -> Next
    end.

%% A file is what the compiler's preprocessor reads.
example(<<"-module(", Rest/binary>> = Source, Bindings) ->
    [Name, _] = binary:split(Rest, <<")">>),
    Folder = filename:join(os:getenv("TMPDIR", "/tmp"), "crema-examples-" ++ os:getpid()),
    File = filename:join(Folder, binary_to_list(Name) ++ ".erl"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, Source),
    {ok, Module, Beam} = compile:file(File, [binary, return_errors, warnings_as_errors, report]),
    ok = file:del_dir_r(Folder),
    {module, Module} = code:load_binary(Module, File, Beam),
    Bindings;
example(Text, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
    evaluate(Tokens, Bindings).

%% Each sentence up to its dot, as a shell would.
evaluate([], Bindings) ->
    Bindings;
evaluate(Tokens, Bindings) ->
    {Before, [Dot | After]} = lists:splitwith(fun(Token) -> element(1, Token) =/= dot end, Tokens),
    {ok, Expressions} = erl_parse:parse_exprs(Before ++ [Dot]),
    {value, _, New} = erl_eval:exprs(Expressions, Bindings),
    evaluate(After, New).

%% A group leader that passes on what is printed by the processes below it.
printer(To) ->
    receive
        {io_request, From, As, {put_chars, Encoding, Module, Function, Args}} ->
            Chars = apply(Module, Function, Args),
            self() ! {io_request, From, As, {put_chars, Encoding, Chars}};
        {io_request, From, As, {put_chars, _, Chars}} ->
            To ! {printed, unicode:characters_to_list(Chars)},
            From ! {io_reply, As, ok};
        {io_request, From, As, _} ->
            From ! {io_reply, As, {error, request}}
    end,
    printer(To).

printed() ->
    receive
        {printed, Text} -> Text
    after 30000 -> nothing
    end.
