defmodule Crema.ChildSpecTest do
  # Elixir habits are adapted to what the Erlang side takes: one map, strings as property names.
  use ExUnit.Case, async: true

  defmodule Handler do
    use Crema.Consumer, group: "orders", kafka: ["session.timeout.ms": 6000, "client.id": "a"]

    @impl true
    def handle_message(_message, state), do: {:ack, state}
  end

  defmodule Named do
    use Crema.Consumer,
      name: __MODULE__,
      bootstrap_servers: "a:1",
      group: "orders",
      topics: ["a"]

    @impl true
    def handle_message(_message, state), do: {:ack, state}
  end

  # Those that are not complete are hidden until the start.
  defp options_of(%{start: {_module, :start_link, [opts]}}) do
    {:ok, pairs, []} = :crema_input.pairs(opts)
    Map.new(pairs)
  end

  test "a producer takes a keyword list or a map" do
    from_list = Crema.Producer.child_spec(bootstrap_servers: "a:1", kafka: ["linger.ms": 5])
    from_map = Crema.Producer.child_spec(%{bootstrap_servers: "a:1", kafka: %{"linger.ms" => 5}})

    assert options_of(from_list) == options_of(from_map)
    assert options_of(from_list).kafka == %{"linger.ms" => "5"}
  end

  test "of an option that is repeated the first counts, as in a keyword list" do
    given = [group: "first", kafka: [a: 1, a: 2], group: "second"]
    assert %{group: "first", kafka: %{"a" => 1}} = Handler.__crema_options__(given)
  end

  test "a handler is its own child, named after the module or its :name" do
    assert Handler.child_spec([]).id == Handler
    assert Handler.child_spec(name: :second).id == :second
    # Behind a function: specifications are printed, arguments are the handler's own business.
    opts = [args: 7, bootstrap_servers: "a:1", topics: ["a"]]
    assert options_of(Handler.child_spec(opts)).handler.() == {Handler, 7}
  end

  test "a module with all its options is a child, and may be the child's name" do
    assert %{id: Named} = spec = Supervisor.child_spec(Named, [])
    assert options_of(spec).name == {:local, Named}
    assert Supervisor.child_spec({Named, name: :second}, []).id == :second
    # As with a GenServer nothing has a name that has not been given one.
    refute options_of(Handler.child_spec([]))[:name]
  end

  test "a handler that is given counts, and not the module" do
    opts = [bootstrap_servers: "a:1", topics: ["a"]]
    spec = Handler.child_spec([handler: {Handler, 7}] ++ opts)
    assert options_of(spec).handler.() == {Handler, 7}

    assert {:error, {:bad_options, %{message: message}}} =
             Handler.start_link([handler: Handler, args: 7] ++ opts)

    assert message =~ "args is unknown"
  end

  test "messages name modules as Elixir does" do
    opts = [bootstrap_servers: "a:1", group: "a", topics: ["a"]]

    assert {:error, {:bad_options, %{message: message}}} =
             Crema.Consumer.start_link([handler: Crema.Nothing] ++ opts)

    assert message =~ "handler Crema.Nothing is no module"
    assert {:error, {:not_found, %{message: message}}} = Crema.pause(Crema.Nobody, :all)
    assert message =~ "under the name Crema.Nobody."
  end

  test "options of the child go over those of use, properties one by one" do
    opts = [topics: ["a"], kafka: %{"client.id" => "b"}] |> Handler.child_spec() |> options_of()

    assert opts.group == "orders"
    assert opts.topics == ["a"]
    assert opts.kafka == %{"session.timeout.ms" => 6000, "client.id" => "b"}
  end

  test "null is nil unless the consumer asks for undefined" do
    assert options_of(Handler.child_spec([])).null == nil
    assert options_of(Handler.child_spec(null: :undefined)).null == :undefined
  end

  test "a setting of the wrong shape is left for the Erlang side to judge" do
    assert {:error, {_code, %{message: message}}} =
             Crema.Producer.start_link(bootstrap_servers: "a:1", kafka: :nonsense)

    assert message =~ "kafka"
  end
end
