%% Who produces what to which topic in a run of chaos, and which groups read it.
-module(crema_chaos_setup).

-export([topics/0, transactional/0, partitions/0, groups/0, groups_of/1, producers/0]).
-export([topic_entry/1, group_entry/1]).
-export([consumer/2, producer/2]).

-define(PARTITIONS, 4).
%% When partitions that a topic gets are noticed.
-define(REFRESH_MS, 10000).

%% ---- topics ------------------------------------------------------------------------

topics() -> [<<"strict">>, <<"loose">>, <<"hasty">>, <<"sales">>, <<"copies">>].

%% @doc Those of producers' transactions.
transactional() -> [<<"sales">>].

%% @doc Of each topic at the beginning.
partitions() -> ?PARTITIONS.

topic_entry(Topic) ->
    Role = case Topic of <<"copies">> -> {copy, <<"strict">>}; _ -> produced end,
    #{what => topic, topic => Topic, partitions => ?PARTITIONS, role => Role}.

%% ---- producers -----------------------------------------------------------------------

%% Each application has these, and of each the processes that produce with it.
producers() ->
    [
        #{
            name => strict, topic => <<"strict">>, ordering => strict, timeout => 90000,
            processes => [one, told, called, many, awaited]
        },
        %% Messages time out in most outages.
        #{
            name => hasty, topic => <<"hasty">>, ordering => strict, timeout => 3000,
            processes => [one, told, many]
        },
        #{
            name => loose, topic => <<"loose">>, ordering => loose, timeout => 20000,
            processes => [told, awaited]
        },
        #{
            name => sales, topic => <<"sales">>, ordering => strict, timeout => 15000,
            processes => [transactions, transactions]
        }
    ].

%% @doc The options of one of them in an application.
producer(#{name := Name, ordering := Ordering, timeout := Timeout}, Run) ->
    #{app := App, bootstrap := Bootstrap} = Run,
    Transactional = [
        {K, V}
     || Name =:= sales,
        {K, V} <- [{'transactional.id', id("sales", App)}, {'transaction.timeout.ms', 20000}]
    ],
    #{
        name => Name,
        bootstrap_servers => Bootstrap,
        ordering => Ordering,
        kafka => maps:from_list([
            {'message.timeout.ms', Timeout}, {'topic.metadata.refresh.interval.ms', ?REFRESH_MS}
            | Transactional
        ])
    }.

id(Name, App) -> lists:concat(["chaos-", Name, "-", App]).

%% ---- groups --------------------------------------------------------------------------

%% Each has members in some of the applications.
groups() ->
    [
        #{group => <<"one">>, topics => [<<"strict">>], style => ack, apps => [1, 2, 3]},
        #{
            group => <<"later">>, topics => [<<"strict">>], style => later, apps => [1, 2],
            strategy => range
        },
        #{group => <<"keyed">>, topics => [<<"strict">>, <<"loose">>], style => ack, apps => [2, 3],
            concurrency => {key, 4}},
        #{group => <<"copying">>, topics => [<<"strict">>], style => copy, apps => [1, 3]},
        #{group => <<"batches">>, topics => [<<"hasty">>], style => batches, apps => [2, 3]},
        #{group => <<"seeking">>, topics => [<<"hasty">>], style => ack, apps => [1, 3]},
        #{group => <<"failing">>, topics => [<<"loose">>], style => failing, apps => [1, 2],
            strategy => roundrobin, isolation => uncommitted},
        #{group => <<"counting">>, topics => [<<"sales">>], style => ack, apps => [1, 2, 3]},
        #{
            group => <<"books">>, topics => [<<"sales">>], style => batches, apps => [1, 3],
            isolation => uncommitted
        }
    ].

groups_of(App) -> [Group || #{apps := Apps} = Group <- groups(), lists:member(App, Apps)].

group_entry(#{group := Group, topics := Topics, style := Style} = Of) ->
    #{
        what => group,
        group => Group,
        topics => Topics,
        isolation => maps:get(isolation, Of, committed),
        order => case Of of #{concurrency := {key, _}} -> process; #{} -> partition end,
        commit => case Style of copy -> transactions; _ -> offsets end
    }.

%% @doc The options of a member of it in an application.
consumer(#{group := Group, topics := Topics, style := Style} = Of, Run) ->
    #{app := App, bootstrap := Bootstrap} = Run,
    Handler = case Style of batches -> crema_chaos_batches; _ -> crema_chaos_handler end,
    Isolation = lists:concat(["read_", maps:get(isolation, Of, committed)]),
    Options = #{
        name => binary_to_atom(Group),
        bootstrap_servers => Bootstrap,
        group => Group,
        topics => Topics,
        handler => {Handler, Run#{group => Group, style => Style}},
        concurrency => maps:get(concurrency, Of, 1),
        backoff => {10, 500},
        drain_timeout => 3000,
        kafka => maps:merge(committing(Style), #{
            'partition.assignment.strategy' => maps:get(strategy, Of, 'cooperative-sticky'),
            'isolation.level' => Isolation,
            'session.timeout.ms' => 6000,
            'heartbeat.interval.ms' => 1000,
            'topic.metadata.refresh.interval.ms' => ?REFRESH_MS
        })
    },
    maps:merge(Options, style(Style, App)).

committing(copy) -> #{};
committing(_) -> #{'auto.commit.interval.ms' => 1000}.

style(copy, App) -> #{commit => exactly_once, transactional_id => id("copying", App)};
style(batches, _App) -> #{batch_messages => 50};
style(_Style, _App) -> #{}.
