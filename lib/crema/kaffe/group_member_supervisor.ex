defmodule Crema.Kaffe.GroupMemberSupervisor do
  @moduledoc """
  `Kaffe.GroupMemberSupervisor`: a consumer of lists of messages.

      config :crema, Crema.Kaffe,
        consumers: [
          orders: [
            endpoints: [kafka: 9092],
            topics: ["orders"],
            consumer_group: "baristas",
            message_handler: MyApp.MessageProcessor
          ]
        ]

  As a child it is `{Crema.Kaffe.GroupMemberSupervisor, :orders}`. The module is a
  `Crema.Kaffe.MessageHandler`. `Crema.Kaffe.GroupManager.member(:orders)` is the consumer's name for
  the functions of `Crema`.
  """

  use Supervisor, restart: :transient

  alias Crema.Kaffe.{Config, GroupManager, Handler, Lists, Turns}

  @doc "Starts the consumer of that name under `consumers`, or the one that is configured alone."
  @spec start_link(key :: term) :: {:ok, pid} | {:error, term}
  def start_link(key \\ []) do
    with {:ok, section} <- Config.consumer(key),
         {:ok, options} <- options(key, section) do
      # States of processes show their arguments, and these may hold a password.
      Supervisor.start_link(__MODULE__, fn -> {key, section, options} end)
    end
  end

  defp options(key, section) do
    with {:ok, options} <- Config.options(:consumer, section),
         {:ok, args} <- Handler.args(section, :handle_messages, 1) do
      turns = if per_partition(section), do: turns(key)
      handler = {Lists, Map.put(args, :turns, turns)}

      %{handler: handler, start: :latest, name: GroupManager.member(key)}
      |> Crema.Options.merge(options)
      |> Config.checked(:consumer)
    end
  end

  defp per_partition(section),
    do: section["worker_allocation_strategy"] != :worker_per_topic_partition

  defp turns(key), do: Module.concat(GroupManager.member(key), "Turns")

  # A member that has ended for good, as one that was fenced, is not started again.
  @impl true
  def init(hidden) do
    {key, section, options} = hidden.()

    turns =
      if per_partition(section), do: [Supervisor.child_spec({Turns, turns(key)}, [])], else: []

    member = options |> Crema.Consumer.child_spec() |> Map.put(:significant, true)
    {:ok, {%{strategy: :one_for_all, auto_shutdown: :any_significant}, turns ++ [member]}}
  end
end
