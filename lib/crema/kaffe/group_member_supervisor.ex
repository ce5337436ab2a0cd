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

  use Supervisor

  alias Crema.Kaffe.{Config, Consumer, GroupManager, Handler, Lists, Turns}

  @doc "A child specification; several in one supervisor are known by their names."
  @spec child_spec(key :: term) :: Supervisor.child_spec()
  def child_spec(key), do: Consumer.child_spec(__MODULE__, key)

  @doc "Starts the consumer of that name under `consumers`, or the one that is configured alone."
  @spec start_link(key :: term) :: {:ok, pid} | {:error, term}
  def start_link(key \\ []) do
    with {:ok, section} <- Config.consumer(key),
         turns = turns(key, section["worker_allocation_strategy"]),
         {:ok, options} <- options(key, section, turns) do
      # States of processes show their arguments, and these may hold a password.
      Supervisor.start_link(__MODULE__, fn -> {turns, options} end)
    end
  end

  defp turns(_key, :worker_per_topic_partition), do: nil
  defp turns(key, _worker_per_partition), do: Module.concat(GroupManager.member(key), "Turns")

  defp options(key, section, turns) do
    with {:ok, options} <- Config.options(:consumer, section),
         {:ok, args} <- Handler.args(section, :handle_messages, 1) do
      handler = {Lists, Map.put(args, :turns, turns)}

      %{handler: handler, start: :latest, name: GroupManager.member(key)}
      |> Crema.Options.merge(options)
      |> Config.checked(:consumer)
    end
  end

  # A member that has ended for good, as one that was fenced, is not started again.
  @impl true
  def init(hidden) do
    {turns, options} = hidden.()
    turns = if turns, do: [%{id: Turns, start: {Turns, :start_link, [turns]}}], else: []
    member = options |> Crema.Consumer.child_spec() |> Map.put(:significant, true)
    {:ok, {%{strategy: :one_for_all, auto_shutdown: :any_significant}, turns ++ [member]}}
  end
end
