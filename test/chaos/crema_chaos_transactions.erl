%% Judges transactions by what readers with read_committed find: of one that is
%% committed all, of one that is aborted nothing, and of one whose end is not known
%% either all or nothing; unless brokers have decided both ways (crema_chaos_markers). And
%% copies, which a consumer makes exactly once, by their sources.
-module(crema_chaos_transactions).

-export([violations/1]).

-spec violations(crema_chaos_story:story()) -> [crema_chaos_checker:violation()].
violations(#{topics := Topics} = Story) ->
    Visible = visible(Story),
    whole(Visible, Story) ++
        same_log(Story) ++
        lists:append([
            copies(Topic, Source, Story)
         || #{topic := Topic, role := {copy, Source}} <- maps:values(Topics)
        ]).

%% What readers with read_committed see of what was produced.
visible(#{topics := Topics} = Story) ->
    maps:from_list([
        {Message, true}
     || {Topic, _} = Place <- crema_chaos_story:places(Story),
        #{Topic := #{role := produced}} <- [Topics],
        {_, Message} <- crema_chaos_story:log(Place, committed, Story)
    ]).

%% ---- transactions ---------------------------------------------------------------------

whole(Visible, #{messages := Messages} = Story) ->
    Members = maps:fold(
        fun
            (_, {_, refused, _}, Acc) -> Acc;
            (Message, {{_, _, Name, _}, _, Reports}, Acc) ->
                Seen = {Message, is_map_key(Message, Visible), Reports},
                Acc#{Name => [Seen | maps:get(Name, Acc, [])]}
        end,
        #{},
        Messages
    ),
    lists:append([judged(Name, Of, Story) || {Name, Of} <- maps:to_list(Members)]).

%% Outside of transactions what is delivered is visible.
judged(none, Of, _Story) ->
    [{hidden, #{message => M}} || {M, false, [{_, {delivered, _, _}}]} <- Of];
judged(Name, Of, #{transactions := Transactions} = Story) ->
    {Shown, Hidden} = lists:partition(fun({_, IsVisible, _}) -> IsVisible end, Of),
    {Asked, Outcome, _} = maps:get(Name, Transactions, {none, none, 0}),
    About = #{
        transaction => Name,
        asked => Asked,
        outcome => Outcome,
        visible => length(Shown),
        hidden => [M || {M, _, _} <- Hidden]
    },
    [by_markers(Kind, Of, About, Story) || Kind <- verdict(Asked, Outcome, Shown, Hidden)].

verdict(_, committed, _, [_ | _]) -> [torn];
verdict(_, committed, _, []) -> [];
verdict(_, aborted, [_ | _], _) -> [aborted_visible];
verdict(Asked, none, [_ | _], _) when Asked =/= commit -> [aborted_visible];
verdict(_, _, [_ | _], [_ | _]) -> [torn];
verdict(_, _, _, _) -> [].

by_markers(Kind, Of, #{transaction := Name, asked := Asked} = About, #{asked := When} = Story) ->
    Decisions = crema_chaos_markers:decisions(Of, Story),
    At = maps:get(Name, When, none),
    Found = lists:sum([length(Offsets) || #{offsets := Offsets} <- Decisions]),
    IsTheirs =
        Asked =:= commit andalso is_reported(Of, At) andalso Found =:= length(Of) andalso
            crema_chaos_markers:contradict(Decisions, At),
    {case IsTheirs of true -> contradicted; false -> Kind end, About#{decisions => Decisions}}.

%% All of it, before a certain time: nothing was written later.
is_reported(Of, Before) ->
    lists:all(
        fun
            ({_, _, [{At, {delivered, _, _}}]}) -> At =< Before;
            (_) -> false
        end,
        Of
    ).

%% Who reads what is committed reads a part of what there is.
same_log(Story) ->
    lists:append([
        begin
            All = maps:from_list(crema_chaos_story:log(Place, uncommitted, Story)),
            [
                {reader, #{place => Place, offset => Offset, message => Message}}
             || {Offset, Message} <- crema_chaos_story:log(Place, committed, Story),
                maps:get(Offset, All, none) =/= Message
            ]
        end
     || Place <- crema_chaos_story:places(Story)
    ]).

%% ---- copies ---------------------------------------------------------------------------

copies(Topic, Source, Story) ->
    Made = found(Topic, Story),
    Sources = found(Source, Story),
    Missing = [
        {copy_missing, #{message => Message, topic => Topic, source => Of}}
     || {Message, Of} <- maps:to_list(Sources),
        length(maps:get(Message, Made, [])) < length(Of)
    ],
    Others = [
        {Kind, #{message => Message, topic => Topic, copies => Of}}
     || {Message, Of} <- maps:to_list(Made),
        Kind <- surplus(Of, maps:get(Message, Sources, []), Story)
    ],
    Missing ++ Others.

surplus(_Copies, [], _Story) -> [copy_unknown];
surplus(Copies, Sources, Story) ->
    [
        copy_repeated
     || length(Copies) > length(Sources),
        not lists:any(fun(Source) -> is_sought(Source, Story) end, Sources)
    ].

%% Who makes copies was led back to the source.
is_sought({Place, Offset}, #{groups := Groups, sought := Sought}) ->
    lists:any(
        fun({_, _, To}) -> To =< Offset end,
        lists:append([
            maps:get({Group, Place}, Sought, [])
         || #{group := Group, commit := transactions} <- maps:values(Groups)
        ])
    ).

%% Where each message of a topic is: it may be there twice.
found(Topic, Story) ->
    lists:foldl(
        fun({Place, {Offset, Message}}, Found) ->
            Found#{Message => [{Place, Offset} | maps:get(Message, Found, [])]}
        end,
        #{},
        [
            {Place, Entry}
         || {T, _} = Place <- crema_chaos_story:places(Story),
            T =:= Topic,
            Entry <- crema_chaos_story:log(Place, committed, Story)
        ]
    ).
